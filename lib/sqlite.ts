/**
 * `spillway/sqlite`: streams that all processes of one machine share, in a file.
 *
 * @module
 */
export { SqliteLog, type SqliteLogOptions } from "./replay/sqlite/sqlite_log.ts";
