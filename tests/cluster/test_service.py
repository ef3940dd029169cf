"""A real tf.data service on loopback: what it gives, and one worker killed half-way."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading

import children
import numbered
import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline import service as service_module

SCRIPT = children.ROOT / "scripts" / "data_service.py"


class Processes:
    """Dispatcher and workers as processes, as the deployment starts them."""

    def __init__(self, processes, workers):
        self._processes = processes
        self.dispatcher = processes.start(SCRIPT, "dispatcher", "--port", 0)
        self.address = self.dispatcher.wait_for("dispatcher at").split()[-1]
        self.ports = [processes.port() for _ in range(workers)]
        self.workers = [self.start_worker(port) for port in self.ports]
        for worker in self.workers:
            worker.wait_for("worker at")

    def start_worker(self, port):
        return self._processes.start(
            SCRIPT,
            "worker",
            "--dispatcher",
            self.address.removeprefix("grpc://"),
            "--port",
            port,
            "--address",
            "127.0.0.1",
        )


@pytest.fixture(scope="module")
def address():
    """Of a dispatcher with two workers, in this process: three TensorFlows less to start."""
    engine = tf.data.experimental.service
    dispatcher = engine.DispatchServer(engine.DispatcherConfig(port=0))
    where = dispatcher.target.partition("://")[2]
    # A worker ends at its next heartbeat: by default after up to 30 s.
    config = engine.WorkerConfig(dispatcher_address=where, heartbeat_interval_ms=200)
    workers = [engine.WorkerServer(config) for _ in "12"]
    yield dispatcher.target
    del workers  # before their dispatcher, which they look for otherwise


def make(data_dir, address, batch_size=100, **options):
    return input_pipeline.make_train(
        batch_size,
        data_dir=data_dir,
        name="numbered_clothes",
        dtype="uint8",
        service=address,
        verify=False,
        **options,
    )


def epoch_of(batches):
    return np.concatenate([numbered.numbers(images) for images, _ in batches])


@pytest.mark.parametrize("count", [1, 3])
def test_service_gives_trainers_every_example_exactly_once(numbered_data, address, count):
    trainers = [make(numbered_data, address, 37, shard=(index, count)) for index in range(count)]
    for _ in range(2):
        every = np.concatenate([epoch_of(batches) for batches in trainers])
        np.testing.assert_array_equal(np.sort(every), np.arange(numbered.TRAIN))


def test_service_serves_the_next_run_of_the_same_seed(numbered_data, address):
    # A job shared by name gave the second run nothing, without an error.
    for _ in range(2):
        runs = [make(numbered_data, address, shard=(i, 2), seed=1) for i in range(2)]
        assert sum(len(epoch_of(run)) for run in runs) == numbered.TRAIN


def test_service_shuffles_each_epoch_anew(numbered_data, address):
    batches = make(numbered_data, address, epochs=2)
    first, second = np.split(epoch_of(batches), 2)
    assert sorted(first) == sorted(second)
    assert first.tolist() != second.tolist()
    assert np.abs(np.diff(first)).mean() > numbered.TRAIN / 10


@pytest.mark.slow
def test_service_goes_on_when_a_worker_is_killed_and_comes_back(processes, numbered_data):
    service = Processes(processes, 2)
    trainer = processes.start(children.HERE / "consume.py", numbered_data, service.address)
    trainer.wait_until_stopped()
    service.workers[0].kill()
    trainer.process.send_signal(signal.SIGCONT)
    service.start_worker(service.ports[0]).wait_for("worker at")
    first, second = trainer.result()
    # A worker may hold two windows, which is all of so small a data set: no share of it is
    # promised for this epoch, only that nothing comes twice and that the next one is whole.
    assert 41 * 50 <= first["examples"] == first["different"] <= numbered.TRAIN
    assert second == {"examples": numbered.TRAIN, "different": numbered.TRAIN}
    service.dispatcher.process.terminate()
    assert service.dispatcher.wait() == 0


@contextlib.contextmanager
def listening(answer):
    """A server that accepts, and answers with those bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                held.append(connection)
                if answer:
                    connection.recv(64)
                    connection.sendall(answer)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"grpc://127.0.0.1:{server.getsockname()[1]}"
        thread.join(60)
        for connection in held:
            connection.close()


def test_service_that_accepts_and_never_answers_is_a_bounded_error(numbered_data, monkeypatch):
    monkeypatch.setattr(service_module, "CONNECT_TIMEOUT_S", 0.5)
    with (
        listening(b"") as address,
        pytest.raises(errors.ArgumentError, match=r"no tf.data dispatcher answers at .*timed out"),
    ):
        make(numbered_data, address)


def test_service_that_is_a_web_server_is_named(numbered_data):
    with (
        listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address,
        pytest.raises(errors.ArgumentError, match="does not speak gRPC"),
    ):
        make(numbered_data, address)


def test_service_on_a_closed_port_is_an_error(numbered_data, closed_port):
    with pytest.raises(errors.ArgumentError, match="refused"):
        make(numbered_data, f"grpc://127.0.0.1:{closed_port}")


@pytest.mark.parametrize("address", ["localhost:5050", "http://h:1", "grpc://h", "grpc://h:x"])
def test_service_address_of_another_form_is_an_error(numbered_data, address):
    with pytest.raises(errors.ArgumentError, match="expected grpc://host:port"):
        make(numbered_data, address)


@pytest.mark.slow
def test_data_service_script_ends_on_sigterm_as_soon_as_it_says_that_it_runs(processes, tmp_path):
    # A thread of numpy's took the signal in that moment, and the process died of it.
    script = tmp_path / "end_at_once.py"
    script.write_text(
        "import builtins, os, runpy, signal, sys\n"
        "def print_and_end(*words, **options):\n"
        "    show(*words, **options)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "show, builtins.print = print, print_and_end\n"
        "del sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    dispatcher = processes.start(script, SCRIPT, "dispatcher", "--port", 0, fork=False)
    assert dispatcher.wait() == 0, dispatcher.output
    assert "dispatcher at" in dispatcher.output
