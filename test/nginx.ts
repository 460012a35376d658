/** A real web server. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectSync, SystemError } from "../src/index.ts";
import { type Keep, refusedPort, temporaryDirectory } from "./setup.ts";
import { until } from "./thread.ts";
import { Program } from "./tool.ts";

/**
 * nginx with these files, in the foreground and as one process, so that it ends with the test; its port. What is in the
 * folder ssi goes through its templates, and so comes in chunks.
 */
export async function nginx(keep: Keep, files: Record<string, Uint8Array>): Promise<number> {
  const { path } = keep(temporaryDirectory());
  mkdirSync(join(path, "ssi"));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  const port = refusedPort();
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${join(path, name)};`)
    .join("\n");
  writeFileSync(
    join(path, "nginx.conf"),
    `daemon off; master_process off; pid ${join(path, "pid")}; error_log stderr;
     events {} http { access_log off; ${temporary}
       server { listen 127.0.0.1:${port}; root ${path}; location /ssi/ { ssi on; ssi_types *; } } }`,
  );
  keep(Program.start(["nginx", "-p", path, "-e", "stderr", "-c", join(path, "nginx.conf")]));
  await until("nginx to listen", () => {
    try {
      connectSync({ hostname: "127.0.0.1", port }).close();
      return true;
    } catch (error) {
      if (error instanceof SystemError && error.code === "ECONNREFUSED") return false;
      throw error;
    }
  });
  return port;
}
