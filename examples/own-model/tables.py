"""What the examples with scikit-learn and XGBoost share: a model that takes one table becomes a graph of several inputs."""

import onnx
from onnx import TensorProto, helper


def graph_of(model, views, width, input_name, output):
    """The graph of a model whose only input is a table, with the views as inputs: flattened, made floating-point and
    put side by side. All outputs but one are dropped, and that is called probabilities."""
    nodes, inputs, columns = [], [], []
    for view in views:
        inputs.append(helper.make_tensor_value_info(view, TensorProto.UINT8, ["batch", 8, 4]))
        nodes.append(helper.make_node("Flatten", [view], [f"{view}_flat"], axis=1))
        nodes.append(helper.make_node("Cast", [f"{view}_flat"], [f"{view}_float"], to=TensorProto.FLOAT))
        columns.append(f"{view}_float")
    nodes.append(helper.make_node("Concat", columns, [input_name], axis=1))
    graph = model.graph
    rename = {output: "probabilities"}
    for node in graph.node:
        node.output[:] = [rename.get(name, name) for name in node.output]
        node.input[:] = [rename.get(name, name) for name in node.input]
        nodes.append(node)
    whole = helper.make_graph(nodes, graph.name, inputs, [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", width])], graph.initializer)
    opsets = list(model.opset_import)
    if not any(o.domain == "" for o in opsets):  # trees need none of the standard operators, the nodes above do
        opsets.append(helper.make_opsetid("", 17))
    made = helper.make_model(whole, opset_imports=opsets, ir_version=max(model.ir_version, 8))
    onnx.checker.check_model(made)
    return made
