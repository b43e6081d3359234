"""KonCept512 in Keras, as the public notebook builds it: python keras_koncept512.py OUT (in the onnx2tf environment).

Writes OUT/model.h5 (weights only), OUT/arrays.npz (its datasets by path), and OUT/score.npz (an image and its score);
and OUT/gaussian.npz, an image resized by TensorFlow's Gaussian.
"""

import os
import sys
from pathlib import Path

os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as keras

HEAD = ((2048, 0.25), (1024, 0.25), (256, 0.5))


def main(out: Path) -> None:
    """See the file."""
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (40, 63, 3)).astype(np.float32)
    sizes = ((20, 32), (101, 160), (40, 63))
    resized = {f"{h}x{w}": tf.image.resize(image, (h, w), method="gaussian").numpy() for h, w in sizes}
    np.savez(out / "gaussian.npz", image=image, **resized)
    model = koncept512()
    for layer in model.layers:  # statistics that are not Keras's first ones, so that a mistaken pair shows
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([w + rng.uniform(0, 0.3, w.shape) for w in layer.get_weights()])
    pixels = rng.uniform(-1, 1, (2, 160, 192, 3)).astype(np.float32)
    np.savez(out / "score.npz", image=pixels, score=model(pixels, training=False).numpy())
    model.save_weights(out / "model.h5", save_format="h5")
    arrays = {}
    with h5py.File(out / "model.h5", "r") as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: np.asarray(item)}) if isinstance(item, h5py.Dataset) else None
            )
        )
    np.savez(out / "arrays.npz", **arrays)


def koncept512() -> keras.Model:
    """With random weights."""
    keras.utils.set_random_seed(1)
    body = keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(body.output)
    for i, (width, dropout) in enumerate(HEAD):
        x = keras.layers.Dense(width, activation="relu", kernel_initializer="he_normal", name=f"fc_fc{i}")(x)
        x = keras.layers.BatchNormalization(name=f"fc_bn{i}")(x)
        x = keras.layers.Dropout(dropout, name=f"fc_do{i}")(x)
    return keras.Model(body.input, keras.layers.Dense(1, name="fc_out")(x))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
