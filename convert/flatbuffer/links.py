"""A graph by its links: who writes a tensor, who reads it, and operators put in the place of others."""

from typing import TYPE_CHECKING, Any

import numpy as np

from convert.flatbuffer import model as fb

if TYPE_CHECKING:
    from convert.flatbuffer.model import Model


class Links:
    """Who writes and who reads each tensor of the first subgraph."""

    def __init__(self, model: "Model") -> None:
        self.model, self.graph = model, model.subgraphs[0]
        self.writer: dict[int, Any] = {}
        self.readers: dict[int, list[Any]] = {int(i): [None] for i in self.graph.outputs}  # None: the caller
        for operator in self.graph.operators:
            self.writer |= {int(i): operator for i in operator.outputs}
            for index in operator.inputs:
                self.readers.setdefault(int(index), []).append(operator)

    def kind(self, operator: Any) -> str:
        """The operator's name; empty for None."""
        return "" if operator is None else fb.kind(self.model, operator)

    def shape(self, index: int) -> list[int]:
        """The tensor's shape."""
        return [int(n) for n in self.graph.tensors[int(index)].shape]

    def constant(self, index: int, dtype: type) -> np.ndarray | None:
        """The constant's values in its shape; None for an activation, a left out input and another type's constant."""
        if index < 0 or not fb.is_constant(self.model, self.graph.tensors[int(index)]):
            return None
        data, shape = bytes(self.model.buffers[self.graph.tensors[int(index)].buffer].data), self.shape(index)
        if len(data) != np.dtype(dtype).itemsize * int(np.prod(shape)):
            return None
        return np.frombuffer(data, dtype).reshape(shape)

    def after(self, operator: Any) -> Any | None:
        """The one reader of the operator's one output; None where there are others."""
        readers = self.readers.get(int(operator.outputs[0]), [])
        return readers[0] if len(readers) == 1 else None

    def before(self, operator: Any) -> Any | None:
        """The writer of the operator's first input, where nothing else reads that."""
        writer = self.writer.get(int(operator.inputs[0]))
        return writer if writer is not None and self.after(writer) is operator else None

    def replace(self, sites: list[tuple[list[Any], list[Any]]]) -> int:
        """Puts each site's new operators where its first old one was; returns how many sites there are."""
        new = {id(old[0]): operators for old, operators in sites}
        gone = {id(operator) for old, _ in sites for operator in old}
        self.graph.operators = [
            operator
            for each in self.graph.operators
            for operator in (new.get(id(each), []) if id(each) in gone else [each])
        ]
        read = {int(index) for operator in self.graph.operators for index in operator.inputs}
        for index in {int(i) for old, _ in sites for operator in old for i in operator.inputs} - read:
            if index >= 0:
                self.graph.tensors[index].buffer = 0  # a constant that nobody reads any more
        return len(sites)
