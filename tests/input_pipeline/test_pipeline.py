"""make_train and make_eval keep their promises: order, epochs, shards, checkpoints."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from fmnist_tfds import catalog, errors, input_pipeline
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline import preprocess, sampler, service, share
from fmnist_tfds.input_pipeline.shards import sources

from . import conftest

SOURCES = ["resident", "stream"]
PINNED = {
    "resident": [874, 779, 959, 264, 888, 190, 859, 285],
    "stream": [783, 315, 709, 346, 181, 165, 410, 288],
}


def _train(builder, batch=64, **arguments):
    arguments = {"dtype": "uint8", "verify": False, **arguments}
    return input_pipeline.make_train(batch, builder=builder, **arguments)


def _stream_share(builder):
    return share.checked(1, builder, "train", None, "stream", drop_remainder=False)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_make_train_gives_every_example_once_per_epoch(tiny, source, batch):
    batches = _train(tiny, batch, source=source)
    sizes = [len(labels) for _, labels in batches]
    assert len(sizes) == batches.cardinality().numpy() == -(-1000 // batch)
    assert sizes[:-1] == [batch] * (len(sizes) - 1)
    assert sorted(conftest.read_numbers(batches)) == list(range(1000))


@pytest.mark.parametrize("source", SOURCES)
def test_make_train_gives_each_iteration_an_order_of_its_own_the_same_on_every_run(
    tiny, source, global_seed
):
    batches = _train(tiny, source=source, seed=3)
    first, second = conftest.read_numbers(batches), conftest.read_numbers(batches)
    assert not np.array_equal(first, second)
    global_seed(17)
    again = _train(tiny, source=source, seed=3)
    np.testing.assert_array_equal(conftest.read_numbers(again), first)
    np.testing.assert_array_equal(conftest.read_numbers(again), second)
    assert not np.array_equal(conftest.read_numbers(_train(tiny, source=source, seed=4)), first)


@pytest.mark.parametrize("source", SOURCES)
def test_make_train_order_is_pinned_across_machines(tiny, source):
    order = conftest.read_numbers(_train(tiny, seed=0, source=source))
    assert order[:8].tolist() == PINNED[source]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("count", "drop"), [(2, True), (7, False)])
def test_make_train_shards_without_overlap_or_loss(many, source, count, drop):
    workers = [
        _train(many, 97, source=source, shard=(index, count), drop_remainder=drop)
        for index in range(count)
    ]
    seen = [conftest.read_numbers(batches) for batches in workers]
    together = np.concatenate(seen)
    assert len(set(together)) == len(together)
    if drop:
        assert len({batches.cardinality().numpy() for batches in workers}) == 1
        assert all(len(part) % 97 == 0 for part in seen)
    else:
        assert sorted(together) == list(range(40_000))


@pytest.mark.parametrize("count", [2, 7])
def test_resident_workers_take_every_nth_position_of_one_global_order(tiny, count):
    whole = conftest.read_numbers(_train(tiny, seed=5))
    for index in range(count):
        mine = conftest.read_numbers(_train(tiny, 10, seed=5, shard=(index, count)))
        np.testing.assert_array_equal(mine, whole[index::count])


def test_stream_moves_examples_across_the_whole_split(many):
    batches = _train(many, 128, source="stream")
    first, second = conftest.read_numbers(batches), conftest.read_numbers(batches)
    # A window of at least 8,192 examples is made of blocks from all over the split, permuted whole.
    window = first[:8192]
    assert window.min() < 1000
    assert window.max() > 39_000
    assert np.mean(np.abs(np.diff(window)) == 1) < 0.01
    assert abs(np.corrcoef(first, np.arange(40_000))[0, 1]) < 0.3
    # Uniform would be a third of the split, 13,333 places.
    assert np.abs(first - np.arange(40_000)).mean() > 8000
    assert np.abs(np.argsort(first) - np.argsort(second)).mean() > 8000


def test_stream_windows_are_whole_blocks_and_large_enough(many):
    source = sources.Parsed(_stream_share(many), verify=False)
    sizes = source.blocks.windows_of(0, 1)
    assert len(sizes) == 2
    assert min(sizes) >= 8192
    order = conftest.read_numbers(_train(many, 100, source="stream"))
    for window in np.split(order, np.cumsum(sizes)[:-1]):
        assert set(np.bincount(window // 120)) <= {0, 40, 120}


def test_stream_order_does_not_depend_on_the_encoding(tiny, tmp_path):
    compressed = conftest.prepare(tmp_path, "compressed")
    for shard in (None, (1, 2)):
        orders = [
            conftest.read_numbers(_train(builder, 30, source="stream", seed=6, shard=shard))
            for builder in (tiny, compressed)
        ]
        np.testing.assert_array_equal(*orders)


def test_resident_permutation_is_uniform_enough(many):
    order = conftest.read_numbers(_train(many, 128))
    assert abs(np.abs(order - np.arange(40_000)).mean() / (40_000 / 3) - 1) < 0.05


@pytest.mark.parametrize("source", SOURCES)
def test_epochs_follow_each_other_within_one_iteration(tiny, source):
    batches = _train(tiny, 64, source=source, epochs=3)
    assert batches.cardinality().numpy() == 3 * 16
    order = conftest.read_numbers(batches)
    epochs = order.reshape(3, 1000)
    assert all(sorted(epoch) == list(range(1000)) for epoch in epochs.tolist())
    assert not np.array_equal(epochs[0], epochs[1])
    endless = _train(tiny, 64, source=source, epochs=None)
    assert endless.cardinality().numpy() == tf.data.INFINITE_CARDINALITY
    assert len(list(endless.take(40))) == 40


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("augment", [None, "flip_crop_cutout"])
def test_iterator_is_saved_and_restored_in_the_middle_of_an_epoch(tiny, source, augment, tmp_path):
    def make():
        return _train(tiny, 50, source=source, epochs=3, augment=augment, seed=8)

    iterator = iter(make())
    for _ in range(27):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    expected = [(x.numpy(), y.numpy()) for x, y in iterator]
    resumed = iter(make())
    tf.train.Checkpoint(iterator=resumed).restore(path).assert_consumed()
    found = [(x.numpy(), y.numpy()) for x, y in resumed]
    assert len(found) == len(expected) == 33
    for (x, y), (x_expected, y_expected) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(  # slices of a group, or whole groups
    ("batch", "drop"), [(97, False), (97, True), (1023, False), (1025, True)]
)
def test_epochs_do_not_run_into_each_other_whatever_the_batch(many, source, drop, batch):
    batches = list(_train(many, batch, source=source, drop_remainder=drop, epochs=2))
    whole, rest = divmod(40_000, batch)
    sizes = [batch] * whole + ([] if drop else [rest])
    order = conftest.read_numbers(batches)
    assert [len(labels) for _, labels in batches] == sizes * 2
    for epoch in np.split(order, 2):
        assert len(set(epoch.tolist())) == sum(sizes)


@pytest.mark.parametrize("source", SOURCES)
def test_no_two_batches_draw_their_augmentation_alike(many, source):
    made = _train(many, 2100, source=source, augment="flip", seed=5, epochs=2)
    plain = _train(many, 2100, source=source, seed=5, epochs=2)
    flipped = [
        (x.numpy() != y.numpy()).any((1, 2, 3)) for (x, _), (y, _) in zip(made, plain, strict=True)
    ]
    assert len(flipped) == 2 * -(-40_000 // 2100)
    assert len({flips[:100].tobytes() for flips in flipped}) == len(flipped)


@pytest.mark.parametrize("source", SOURCES)
def test_workers_draw_their_augmentation_apart(many, source):
    def flips(index):
        made = _train(many, 100, source=source, shard=(index, 2), augment="flip", seed=3)
        plain = _train(many, 100, source=source, shard=(index, 2), seed=3)
        pairs = zip(made.take(5), plain.take(5), strict=True)
        return [
            bool(np.array_equal(a, b))
            for (x, _), (y, _) in pairs
            for a, b in zip(x, y, strict=True)
        ]

    first, second = flips(0), flips(1)
    assert 0.35 < np.mean(first) < 0.65
    assert first != second


@pytest.mark.parametrize("arguments", [{"source": "stream"}, {"service": "grpc://127.0.0.1:1"}])
def test_a_stream_worker_of_few_blocks_is_told_so(tiny, many, arguments):
    with pytest.raises(errors.ArgumentError, match=r"batch_size: expected 1 to 5,640 .*5,700"):
        _train(many, 5700, shard=(6, 7), drop_remainder=True, **arguments)
    with pytest.raises(errors.ArgumentError, match="shard: expected at most 9 workers"):
        _train(tiny, 10, shard=(9, 10), **arguments)


@pytest.mark.parametrize("make", [input_pipeline.make_train, input_pipeline.make_eval])
def test_gpus_are_hidden_from_tensorflow_under_another_backend(tiny, monkeypatch, make):
    hidden = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *call: hidden.append(call))
    for backend, device in (("tensorflow", None), ("jax", "/cpu:0"), ("torch", None)):
        monkeypatch.setattr(keras.backend, "backend", lambda backend=backend: backend)
        make(50, builder=tiny, verify=False, device=device)
        assert hidden == ([([], "GPU")] if backend == "torch" else [])


def test_gpus_that_tensorflow_holds_already_stay_visible(tiny, monkeypatch):
    def refuse(*_):
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert len(_train(tiny, 100)) == 10


def test_batches_are_prefetched_to_a_device(tiny):
    batches = _train(tiny, 100, device="/cpu:0")
    assert sorted(conftest.read_numbers(batches)) == list(range(1000))


@pytest.mark.parametrize("source", SOURCES)
def test_fit_takes_the_next_epoch_each_time(tiny, source):
    seen = []

    class Recorder(keras.layers.Layer):
        def call(self, images):
            tf.py_function(lambda x: seen.append(conftest.numbers(x.numpy())), [images], [])
            return keras.ops.cast(keras.ops.reshape(images, (-1, 784)), "float32") / 255.0

    recorder = Recorder(dtype="float32", autocast=False)
    model = keras.Sequential([recorder, keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True), run_eagerly=True)
    model.fit(
        _train(tiny, 100, source=source, drop_remainder=True), epochs=2, verbose=0, shuffle=False
    )
    order = np.concatenate(seen[-20:]).reshape(2, 1000)
    assert [sorted(epoch) for epoch in order.tolist()] == [list(range(1000))] * 2
    assert not np.array_equal(order[0], order[1])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("count", [1, 3])
def test_make_eval_gives_every_example_once_in_order(tiny, source, count):
    seen = []
    for index in range(count):
        batches = input_pipeline.make_eval(
            32, builder=tiny, dtype="uint8", verify=False, source=source, shard=(index, count)
        )
        for _ in range(2):
            order = conftest.read_numbers(batches)
            assert order.tolist() == sorted(order.tolist())
        assert len(list(batches)) == batches.cardinality().numpy()
        seen += order.tolist()
    assert sorted(seen) == list(range(301))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "uint8"])
def test_make_train_element_spec_is_as_promised(tiny, source, dtype):
    batches = _train(tiny, 64, source=source, dtype=dtype, drop_remainder=True)
    images, labels = batches.element_spec
    assert images.shape.as_list() == [64, 28, 28, 1]
    assert images.dtype == tf.as_dtype(dtype)
    assert (labels.shape.as_list(), labels.dtype) == ([64], tf.int64)


def test_mirrored_strategy_does_not_shard_once_more(tiny):
    # With one worker nothing would be lost; with several each would get a part of its part.
    policy = _train(tiny, 100).options().experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.OFF
    strategy = tf.distribute.MirroredStrategy(["cpu:0"])
    spread = strategy.experimental_distribute_dataset(_train(tiny, 100))
    assert sorted(conftest.read_numbers(spread)) == list(range(1000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch_size: expected 1 to 1,000"),
        ({"batch": 1001}, "batch_size: expected 1 to 1,000"),
        ({"batch": 501, "shard": (0, 2)}, "batch_size: expected 1 to 500"),
        ({"shard": (2, 2)}, r"shard: expected \(index, count\)"),
        ({"shard": (-1, 2)}, "shard"),
        ({"shard": (0, 0)}, "shard"),
        ({"dtype": "float64"}, "dtype: expected one of float32"),
        (
            {"augment": "flip_spin"},
            "augment: expected one of flip, altflip, crop, cutout, erase; got 'spin'",
        ),
        ({"normalize": "max"}, "normalize: expected one of unit"),
        ({"normalize": "standard"}, "needs a floating dtype"),
        ({"epochs": 0}, "epochs: expected at least 1"),
        ({"epochs": 1.5}, "epochs: expected a whole number, got 1.5"),
        ({"seed": None}, "seed: expected a whole number, got None"),
        ({"seed": "7"}, "seed: expected a whole number, got '7'"),
        ({"batch": "64"}, "batch_size: expected a whole number"),
        ({"batch": 64.0}, "batch_size: expected a whole number"),
        ({"batch": True}, "batch_size: expected a whole number"),
        ({"shard": ("0", 2)}, "shard: expected a whole number"),
        ({"source": "disk"}, "source: expected resident or stream"),
        (
            {"source": "disk", "service": "grpc://127.0.0.1:1"},
            "source: expected resident or stream",
        ),
        ({"split": "validation"}, "split: expected one of"),
        ({"service": "localhost"}, "service: expected grpc://"),
        # A service deals out blocks, of which there are nine.
        (
            {"service": "grpc://127.0.0.1:1", "shard": (9, 10), "batch": 10},
            "shard: expected at most 9 workers",
        ),
    ],
)
def test_make_train_refuses_a_wrong_argument(tiny, arguments, message):
    with pytest.raises(errors.ArgumentError, match=message):
        _train(tiny, **arguments)


def test_unprepared_data_says_how_to_make_it(tmp_path):
    with pytest.raises(errors.NotPreparedError, match=r"fmnist-tfds build --data_dir"):
        input_pipeline.make_train(32, data_dir=tmp_path)
    unprepared = conftest._Clothes(data_dir=str(tmp_path))
    with pytest.raises(errors.NotPreparedError, match=r"no prepared data set tiny_clothes"):
        input_pipeline.make_eval(32, builder=unprepared)


def test_data_dir_and_name_find_what_a_builder_prepared(tiny):
    data_dir = conftest.shard_path(tiny).parent.parent.parent
    batches = input_pipeline.make_eval(
        50, name="tiny_clothes", data_dir=data_dir, dtype="uint8", verify=False
    )
    assert conftest.read_numbers(batches).tolist() == list(range(301))


def test_real_data_is_proved_and_bit_exact(real_data, tmp_path):
    import gzip

    from fmnist_tfds.formats import idx

    def examples(split):
        parts = [catalog.FASHION_MNIST.part(split, kind) for kind in ("images", "labels")]
        return [
            idx.decode(gzip.decompress((real_data / part.name).read_bytes()), part.shape)
            for part in parts
        ]

    builder = tfds.builder("fmnist_resilient", data_dir=tmp_path, mirrors=["off", str(real_data)])
    builder.download_and_prepare()
    images, labels = examples("test")
    for source in SOURCES:
        found = list(
            input_pipeline.make_eval(1000, data_dir=tmp_path, dtype="uint8", source=source)
        )
        np.testing.assert_array_equal(np.concatenate([x for x, _ in found])[..., 0], images)
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), labels)
        assert len(list(input_pipeline.make_train(1000, data_dir=tmp_path, source=source))) == 60
    standard = input_pipeline.make_train(10_000, data_dir=tmp_path, normalize="standard")
    pixels = np.concatenate([x for x, _ in standard])
    assert abs(float(pixels.mean(dtype=np.float64))) < 1e-4
    assert abs(float(pixels.std(dtype=np.float64)) - 1) < 1e-4


def _service(workers):
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    address = dispatcher.target.partition("://")[2]
    made = [
        service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
        for _ in range(workers)
    ]
    return dispatcher, made


def test_service_gives_every_example_once_each_epoch(many):
    dispatcher, workers = _service(2)
    batches = _train(many, 100, service=dispatcher.target, epochs=2)
    order = conftest.read_numbers(batches)
    assert sorted(order) == sorted([*range(40_000)] * 2)
    dropped = _train(many, 300, service=dispatcher.target, drop_remainder=True)
    assert {len(labels) for _, labels in dropped} == {300}
    del workers


@pytest.mark.parametrize("source", SOURCES)
def test_service_is_sent_paths_and_not_the_images(many, monkeypatch, source):
    sent = []
    monkeypatch.setattr(service, "distribute", lambda made, _: sent.append(made) or made)
    _train(many, 100, service="grpc://127.0.0.1:1", source=source)
    variant = tf.data.experimental.to_variant(sent[0])
    graph = tf.raw_ops.DatasetToGraphV2(input_dataset=variant).numpy()
    assert str(conftest.shard_path(many)).encode() in graph
    assert len(graph) < 200_000


def test_service_shuffles_and_draws_anew_under_a_global_seed(many, global_seed):
    # keras.utils.set_random_seed gave every epoch of a service the same order and augmentation.
    how = augmentation.recipe("uint8", "unit", "flip_crop")
    images, labels = tf.constant(conftest.make_images(64)[..., None]), tf.zeros(64, tf.int64)

    def epoch():
        global_seed(5)
        source = sources.Parsed(_stream_share(many), verify=False)
        order = np.concatenate([conftest.numbers(x) for x, _ in source.shared_out(seed=0)])
        draws = preprocess.host_draws(how, *sampler.keys_anyhow(labels))
        return order, preprocess.host(images, draws, how).numpy()

    (first, drawn), (second, drawn_anew) = epoch(), epoch()
    assert sorted(first) == sorted(second) == list(range(40_000))
    assert not np.array_equal(first, second)
    assert not np.array_equal(drawn, drawn_anew)


def test_service_that_does_not_answer_is_named(tiny, closed_port):
    with pytest.raises(errors.ArgumentError, match=f"no tf.data dispatcher answers.*{closed_port}"):
        _train(tiny, service=f"grpc://127.0.0.1:{closed_port}")


@pytest.mark.parametrize("kind", ["stored", "compressed"])
def test_array_record_is_read_resident_and_refused_as_a_stream(tmp_path, kind):
    builder = conftest.prepare(tmp_path, kind, file_format="array_record")
    images, labels = next(iter(_train(builder, 1000, dtype="uint8")))
    assert sorted(conftest.read_numbers([(images, labels)])) == list(range(1000))
    order = conftest.numbers(images)
    np.testing.assert_array_equal(images[..., 0], conftest.make_images(1000)[order])
    with pytest.raises(errors.ArgumentError, match="array_record"):
        _train(builder, source="stream")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("kind", "shards"), [("stored", 3), ("compressed", 1), ("compressed", 2)])
def test_any_encoding_and_number_of_shards_is_read(tmp_path, source, kind, shards):
    builder = conftest.prepare(tmp_path, kind, shards)
    batches = input_pipeline.make_eval(
        40, builder=builder, dtype="uint8", verify=False, source=source, split="train"
    )
    assert sorted(conftest.read_numbers(batches)) == list(range(1000))
    images = np.concatenate([x for x, _ in batches])
    order = conftest.numbers(images)
    np.testing.assert_array_equal(images[..., 0], conftest.make_images(1000)[order])
    assert sorted(conftest.read_numbers(_train(builder, 33, source=source))) == list(range(1000))


def test_prepared_split_reads_as_tfds_reads_it(tiny):
    ours = input_pipeline.make_eval(301, builder=tiny, dtype="uint8", verify=False)
    images, labels = next(iter(ours))
    stock = tfds.as_numpy(tiny.as_dataset(split="test", as_supervised=True, batch_size=301))
    stock_images, stock_labels = next(iter(stock))
    np.testing.assert_array_equal(images, stock_images)
    np.testing.assert_array_equal(labels, stock_labels)
