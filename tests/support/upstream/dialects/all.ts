/** Every family that is tested. */
import type { Dialect } from "./answer.ts";
import { azure } from "./azure.ts";
import { dashscope } from "./dashscope.ts";
import { deepseek } from "./deepseek.ts";
import { gemini } from "./gemini.ts";
import { groq } from "./groq.ts";
import { kimi } from "./kimi.ts";
import { litellm } from "./litellm.ts";
import { llamaCpp } from "./llama_cpp.ts";
import { lmStudio } from "./lm_studio.ts";
import { mistral } from "./mistral.ts";
import { ollama } from "./ollama.ts";
import { openai } from "./openai.ts";
import { openrouter } from "./openrouter.ts";
import { sglang } from "./sglang.ts";
import { vllm } from "./vllm.ts";

export const DIALECTS: readonly Dialect[] = [
  openai,
  vllm,
  llamaCpp,
  ollama,
  lmStudio,
  openrouter,
  azure,
  gemini,
  deepseek,
  kimi,
  mistral,
  groq,
  litellm,
  dashscope,
  sglang,
];
