"""XGBoost: boosted trees for each subset of the views, each a graph of its own.

    python xgboost_model.py FOLDER
"""

import pathlib
import sys

import onnx
import onnxmltools
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

import data
import tables
from sklearn_model import table


def main(folder):
    (views, labels), (unseen, unseen_labels) = data.load()
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    for subset in data.SUBSETS:
        columns = table(views, subset)
        trees = xgboost.XGBClassifier(n_estimators=40, max_depth=4, n_jobs=1).fit(columns, labels)
        model = onnxmltools.convert_xgboost(trees, initial_types=[("table", FloatTensorType([None, columns.shape[1]]))], target_opset=15)
        onnx.save(tables.graph_of(model, subset, 10, "table", "probabilities"), folder / "onnx" / f"{'_'.join(subset)}.onnx")
    data.save_samples(folder, unseen, unseen_labels)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
