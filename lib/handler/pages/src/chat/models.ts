/** The picker of models, where the server has several. */
import { $ } from "../dom.ts";
import { authorization, remember, remembered } from "./kept.ts";

const picker = $<HTMLSelectElement>("model");

/** The model that was picked; `undefined` where there is nothing to pick from. */
export const pickedModel = (): string | undefined => picker.value || undefined;

/** Asks for the models. Without a key, or without that route, there is no picker. */
export async function loadModels(): Promise<void> {
  try {
    const response = await fetch("v1/models", { headers: authorization() });
    const { data } = await response.json() as { data: { id: string }[] };
    if (data.length < 2) return;
    const chosen = remembered("model");
    picker.replaceChildren(...data.map(({ id }) => new Option(id, id, false, id === chosen)));
    picker.hidden = false;
  } catch {
    // The chat works without.
  }
}

picker.addEventListener("change", () => remember("model", picker.value));
