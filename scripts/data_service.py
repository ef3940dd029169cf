"""Runs the dispatcher or a worker of a tf.data service, which is TensorFlow's own, until SIGTERM.

    python scripts/data_service.py dispatcher --port 5050
    python scripts/data_service.py worker --dispatcher HOST:5050 --port 5051 --address POD_IP

Trainers then pass service="grpc://HOST:5050" to make_train. Dispatcher and workers need TensorFlow
alone, the same version as the trainers'; workers read the prepared files under the same path.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import time

import tensorflow as tf


def main() -> int:
    """Starts what the flags say, and waits for SIGTERM or SIGINT."""
    arguments = _arguments()
    service = tf.data.experimental.service
    if arguments.role == "dispatcher":
        server = service.DispatchServer(
            service.DispatcherConfig(
                port=arguments.port,
                work_dir=arguments.work_dir,
                fault_tolerant_mode=arguments.work_dir is not None,
            )
        )
        where = f"dispatcher at {server.target}"
    else:
        address = f"{arguments.address}:{arguments.port or '%port%'}"
        server = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=arguments.dispatcher,
                worker_address=address,
                port=arguments.port,
                heartbeat_interval_ms=1000,
                dispatcher_timeout_ms=int(1000 * arguments.timeout_s),
            )
        )
        where = f"worker at {address} of {arguments.dispatcher}"
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopped.append(number))
    print(where, flush=True)
    # TensorFlow's own join() would never let a handler run. And the signal may reach a thread of
    # numpy's, which does not wake this one.
    while not stopped:
        time.sleep(0.2)
    server._stop()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    roles = parser.add_subparsers(dest="role", required=True)
    dispatcher = roles.add_parser("dispatcher")
    dispatcher.add_argument("--port", type=int, default=5050)
    dispatcher.add_argument("--work_dir", help="journal here: a restarted dispatcher goes on")
    worker = roles.add_parser("worker")
    worker.add_argument("--dispatcher", required=True, metavar="HOST:PORT")
    worker.add_argument("--port", type=int, default=5051, help="0: any free one")
    worker.add_argument("--address", default=socket.gethostname(), help="that trainers reach")
    worker.add_argument("--timeout_s", type=float, default=600.0, help="to find the dispatcher")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
