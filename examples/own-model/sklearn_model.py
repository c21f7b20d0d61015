"""scikit-learn: a classifier for each subset of the views, each a graph of its own.

    python sklearn_model.py FOLDER

A classifier of tables cannot leave out columns, so every subset has one that was trained on it.
"""

import pathlib
import sys

import numpy
import onnx
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import data
import tables


def table(views, subset):
    return numpy.concatenate([views[name].reshape(len(views[name]), -1) for name in subset], axis=1).astype(numpy.float32)


def main(folder):
    (views, labels), (unseen, unseen_labels) = data.load()
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for subset in data.SUBSETS:
        columns = table(views, subset)
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(columns, labels)
        model = skl2onnx.convert_sklearn(classifier, initial_types=[("table", FloatTensorType([None, columns.shape[1]]))],
                                         options={"zipmap": False}, target_opset=17)
        onnx.save(tables.graph_of(model, subset, 10, "table", "probabilities"), folder / "onnx" / f"{'_'.join(subset)}.onnx")
    data.save_samples(folder, unseen, unseen_labels)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
