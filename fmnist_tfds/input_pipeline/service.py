"""Batches from a tf.data service: the address checked, then TensorFlow's own engine.

Source: RFC 9113, section 3.4 (a server answers the preface with a SETTINGS frame).
"""

from __future__ import annotations

import socket
import urllib.parse

import tensorflow as tf

from fmnist_tfds import errors

# A thousand trainers may ask at once, and the dispatcher's machine be busy.
CONNECT_TIMEOUT_S = 20.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def distribute(batches: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """The same batches, made by the workers of the service at `address`.

    Args:
        batches: what to make; its one source is split over the workers.
        address: "grpc://host:port" of the dispatcher.

    Raises:
        ArgumentError: not an address, or no gRPC server answers there within CONNECT_TIMEOUT_S
            seconds.
    """
    check(address)
    mode = tf.data.experimental.service.ShardingPolicy.DYNAMIC
    return batches.apply(tf.data.experimental.service.distribute(mode, address))


def check(address: str) -> None:
    """Proves that a gRPC server answers: TensorFlow itself goes on trying, in silence.

    Raises:
        ArgumentError: not an address, or nothing that speaks gRPC answers there.
    """
    parts = urllib.parse.urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "grpc" or not parts.hostname or port is None:
        raise errors.ArgumentError(f"service: expected grpc://host:port, got {address!r}")
    try:
        with socket.create_connection((parts.hostname, port), CONNECT_TIMEOUT_S) as connection:
            connection.sendall(_PREFACE + _SETTINGS)
            head = connection.recv(len(_SETTINGS))
    except OSError as error:
        raise _silent(address, str(error)) from error
    if head[3:4] != _SETTINGS[3:4]:
        raise _silent(address, f"a server that does not speak gRPC answers there: {head[:9]!r}")


def _silent(address: str, why: str) -> errors.ArgumentError:
    return errors.ArgumentError(
        f"service: no tf.data dispatcher answers at {address}: {why}",
        hint="start one (tf.data.experimental.service.DispatchServer) or correct the address",
    )
