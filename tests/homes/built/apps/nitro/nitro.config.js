export default { preset: "node_server", serverDir: "." };
