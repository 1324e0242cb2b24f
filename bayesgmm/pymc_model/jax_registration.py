"""Registers the JAX forms of the Ops with PyTensor when it first prepares a graph for JAX, not before.

PyTensor's table of JAX forms imports JAX, which PyMC models do without. Every graph that PyTensor compiles for JAX
first passes the rewrites with the tag ``"jax"``; the one here imports the forms.
"""

from pytensor.compile import optdb
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.tensor.basic import MakeVector

from bayesgmm.pymc_model.mixture_ops import CheckedShapes


class JaxForms(GraphRewriter):
    """Import the forms, and hand lengths over as a tuple, in which JAX sees them while it traces."""

    def apply(self, fgraph: FunctionGraph) -> None:
        """See `GraphRewriter.apply`."""
        from pytensor.link.jax.dispatch.shape import JAXShapeTuple

        import bayesgmm.pymc_model.jax  # noqa: F401

        for node in fgraph.toposort():
            if isinstance(node.op, CheckedShapes):
                lengths = node.inputs[1]
                if lengths.owner is not None and isinstance(lengths.owner.op, MakeVector):
                    fgraph.change_node_input(node, 1, JAXShapeTuple()(*lengths.owner.inputs))


optdb.register("bayesgmm_jax_forms", JaxForms(), "jax", position=100)
