"""Search space, `SubDiTSpec`, components and their vectorised encoding; numpy only."""

from supernet.space._components import KINDS
from supernet.space._components import Component
from supernet.space._components import ComponentTerm
from supernet.space._components import all_components
from supernet.space._components import component_counts
from supernet.space._components import component_terms
from supernet.space._components import components
from supernet.space._components import components_by_stage
from supernet.space._components import sum_components
from supernet.space._described import described
from supernet.space._memory import activation_bytes
from supernet.space._memory import part_activation_bytes
from supernet.space._memory import weight_bytes
from supernet.space._runtime_memory import EXTERNAL_DATA_BYTES
from supernet.space._runtime_memory import MEMORY_MODEL
from supernet.space._runtime_memory import MEMORY_TERMS
from supernet.space._runtime_memory import RUNTIMES
from supernet.space._runtime_memory import MemoryTerms
from supernet.space._runtime_memory import count_operators
from supernet.space._runtime_memory import memory_features
from supernet.space._runtime_memory import peak_memory_bytes
from supernet.space._search_space import PIPELINE_PARTS
from supernet.space._search_space import EncodedSpecs
from supernet.space._search_space import SearchSpace
from supernet.space._search_space import TextInput
from supernet.space._sizes import PRECISIONS
from supernet.space._sizes import WeightSizes
from supernet.space._sizes import component_flops
from supernet.space._sizes import component_params
from supernet.space._sizes import component_weights
from supernet.space._sizes import components_up_to
from supernet.space._sizes import count_flops
from supernet.space._sizes import count_params
from supernet.space._spaces import get_space
from supernet.space._spaces import register_space
from supernet.space._spaces import space_names
from supernet.space._spec import ASSA_STAGES
from supernet.space._spec import STAGES
from supernet.space._spec import SubDiTSpec

__all__ = [
    "ASSA_STAGES",
    "EXTERNAL_DATA_BYTES",
    "KINDS",
    "MEMORY_MODEL",
    "MEMORY_TERMS",
    "PIPELINE_PARTS",
    "PRECISIONS",
    "RUNTIMES",
    "STAGES",
    "Component",
    "ComponentTerm",
    "EncodedSpecs",
    "MemoryTerms",
    "SearchSpace",
    "SubDiTSpec",
    "TextInput",
    "WeightSizes",
    "activation_bytes",
    "all_components",
    "component_counts",
    "component_flops",
    "component_params",
    "component_terms",
    "component_weights",
    "components",
    "components_by_stage",
    "components_up_to",
    "count_flops",
    "count_operators",
    "count_params",
    "described",
    "get_space",
    "memory_features",
    "part_activation_bytes",
    "peak_memory_bytes",
    "register_space",
    "space_names",
    "sum_components",
    "weight_bytes",
]
