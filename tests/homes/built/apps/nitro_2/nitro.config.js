export default { preset: "node_server", compatibilityDate: "2026-11-01" };
