"""Keras with TensorFlow: late fusion of a network for each view.

    python keras_model.py FOLDER
"""

import pathlib
import sys

import keras
import numpy
import tensorflow
import tf2onnx

import data


def network(name):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")], name=name)


def main(folder):
    keras.utils.set_random_seed(1)
    (views, labels), (unseen, unseen_labels) = data.load()
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    nets = {name: network(name) for name in data.VIEWS}
    for name, net in nets.items():
        net.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
        net.fit(views[name].astype(numpy.float32) / 16, labels, epochs=30, batch_size=64, verbose=0)
    for subset in data.SUBSETS:

        def probabilities(*given):
            said = [nets[name](tensorflow.cast(view, tensorflow.float32) / 16) for name, view in zip(subset, given)]
            return {"probabilities": sum(said) / len(said)}  # the output's name

        signature = [tensorflow.TensorSpec([None, 8, 4], tensorflow.uint8, name=name) for name in subset]
        tf2onnx.convert.from_function(tensorflow.function(probabilities, input_signature=signature), signature, opset=17,
                                      output_path=folder / "onnx" / f"{'_'.join(subset)}.onnx")
    data.save_samples(folder, unseen, unseen_labels)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
