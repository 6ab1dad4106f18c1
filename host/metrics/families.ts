/** Everything that is exposed from the core's memory: names, types, help texts, in the order of the output. */
import type { Families } from "./exposition.js";

export const FAMILIES = {
  // As node_exporter's ipvs collector has them: dashboards that were made for it go on.
  node_ipvs_connections_total: ["counter", "The total number of connections made."],
  node_ipvs_incoming_packets_total: ["counter", "The total number of incoming packets."],
  node_ipvs_outgoing_packets_total: ["counter", "The total number of outgoing packets."],
  node_ipvs_incoming_bytes_total: ["counter", "The total amount of incoming data."],
  node_ipvs_outgoing_bytes_total: ["counter", "The total amount of outgoing data."],
  node_ipvs_backend_connections_active: ["gauge", "The current active connections by local and remote address."],
  node_ipvs_backend_connections_inactive: ["gauge", "The current inactive connections by local and remote address."],
  node_ipvs_backend_weight: ["gauge", "The current backend weight by local and remote address."],

  wlvs_frames_in_total: ["counter", "Frames that the core took in; each ends in one verdict."],
  wlvs_frames_out_total: ["counter", "Frames that the core gave out."],
  wlvs_frames_generated_total: ["counter", "Frames that the core made itself: ARP, ICMP, fragments, segments."],
  wlvs_verdicts_total: ["counter", "How frames ended: forward, local, consumed, drop."],
  wlvs_drops_total: ["counter", "Frames that were dropped, by reason."],
  wlvs_evictions_total: ["counter", "Connections that made room for others in a full table."],
  wlvs_traps_total: ["counter", "Traps of the core, each of which is a bug."],
  wlvs_table_entries: ["gauge", "Entries of a table of the core that are in use."],
  wlvs_table_capacity: ["gauge", "Entries that a table of the core has room for."],
  wlvs_waiting_frames: ["gauge", "Frames that wait for a neighbour's address."],

  wlvs_port_up: ["gauge", "Whether the core sends and receives on the port."],
  wlvs_port_frames_total: ["counter", "Frames of a port; in is what came into the core."],
  wlvs_port_bytes_total: ["counter", "Bytes of a port, link headers included."],
  wlvs_port_send_failures_total: ["counter", "Frames that the port's device did not take."],
  wlvs_device_carrier: ["gauge", "Whether the kernel's end of the device is up and has its director."],
  wlvs_device_queue_length: ["gauge", "Frames that the device's queue towards the director holds at most."],
  wlvs_device_lost_total: [
    "counter",
    "Frames that the kernel lost between the device and the core: in before they came, out after they were sent.",
  ],

  wlvs_worker_frames_total: ["counter", "Frames that a worker took in and gave out."],
  wlvs_worker_bytes_total: ["counter", "Bytes that a worker took in."],
  wlvs_worker_busy_seconds_total: ["counter", "Time that a worker's breaths took, waiting left out."],
  wlvs_worker_held_buffers: ["gauge", "Empty slots that the kernel holds for a worker's io_uring to receive into."],
  wlvs_breath_duration_seconds: ["histogram", "How long breaths took, system calls included, waiting left out."],
  wlvs_breath_frames: ["histogram", "How many frames breaths took in."],

  wlvs_service_connections_total: ["counter", "Connections of a virtual service."],
  wlvs_service_packets_total: ["counter", "Packets of a virtual service; in is from clients."],
  wlvs_service_bytes_total: ["counter", "Bytes of a virtual service; in is from clients."],
  wlvs_service_servers: ["gauge", "Real servers that a virtual service has in the table."],
  wlvs_server_connections_total: ["counter", "Connections of a real server."],
  wlvs_server_packets_total: ["counter", "Packets of a real server; in is to the server."],
  wlvs_server_bytes_total: ["counter", "Bytes of a real server; in is to the server."],
  wlvs_server_up: ["gauge", "What the checks of a real server say; absent while they say nothing yet."],
  wlvs_check_results_total: ["counter", "Checks of a real server that ended, by result."],
  wlvs_check_duration_seconds: ["gauge", "How long the last check of a real server took."],
  wlvs_series_left_out: ["gauge", "Virtual services and real servers that are too many for series of their own."],
} as const satisfies Families;
