"""Search space, `SubDiTSpec`, components and their vectorised encoding; numpy only."""

from subdit.space._components import Component
from subdit.space._components import ComponentTerm
from subdit.space._components import all_components
from subdit.space._components import component_counts
from subdit.space._components import component_terms
from subdit.space._components import components
from subdit.space._components import components_by_stage
from subdit.space._components import smallest_host
from subdit.space._components import sum_components
from subdit.space._costs import CLOSED_FORMS
from subdit.space._costs import closed_form_cost
from subdit.space._dimensions import ASSA_STAGES
from subdit.space._dimensions import DIMENSIONS
from subdit.space._dimensions import KINDS
from subdit.space._dimensions import STAGES
from subdit.space._dimensions import Dimension
from subdit.space._dimensions import Operations
from subdit.space._dimensions import known_dimensions
from subdit.space._dimensions import register_dimension
from subdit.space._features import spec_features
from subdit.space._memory import activation_bytes
from subdit.space._memory import part_activation_bytes
from subdit.space._memory import weight_bytes
from subdit.space._run_space import run_space
from subdit.space._run_space import start_run
from subdit.space._runtime_memory import EXTERNAL_DATA_BYTES
from subdit.space._runtime_memory import MEMORY_MODEL
from subdit.space._runtime_memory import MEMORY_TERMS
from subdit.space._runtime_memory import MODELLED_RUNTIMES
from subdit.space._runtime_memory import count_operators
from subdit.space._runtime_memory import memory_features
from subdit.space._runtime_memory import peak_memory_bytes
from subdit.space._search_space import EncodedSpecs
from subdit.space._search_space import SearchSpace
from subdit.space._sizes import PRECISIONS
from subdit.space._sizes import WeightSizes
from subdit.space._sizes import component_flops
from subdit.space._sizes import component_params
from subdit.space._sizes import component_weights
from subdit.space._sizes import components_up_to
from subdit.space._sizes import count_flops
from subdit.space._sizes import count_params
from subdit.space._space_definition import PIPELINE_PARTS
from subdit.space._space_definition import SPACE_SUFFIXES
from subdit.space._space_definition import TextInput
from subdit.space._space_file import read_space
from subdit.space._space_file import space_from_dict
from subdit.space._space_file import space_hash
from subdit.space._space_file import space_to_dict
from subdit.space._space_file import space_to_yaml
from subdit.space._spaces import SpaceLike
from subdit.space._spaces import built_in_space
from subdit.space._spaces import get_space
from subdit.space._spaces import models_id
from subdit.space._spaces import recorded_space
from subdit.space._spaces import register_space
from subdit.space._spaces import rename_space
from subdit.space._spaces import space_argument
from subdit.space._spaces import space_names
from subdit.space._spaces import space_record
from subdit.space._spec import SubDiTSpec
from subdit.space._spec import spec_columns

__all__ = [
    "ASSA_STAGES",
    "CLOSED_FORMS",
    "EXTERNAL_DATA_BYTES",
    "KINDS",
    "MEMORY_MODEL",
    "MEMORY_TERMS",
    "PIPELINE_PARTS",
    "PRECISIONS",
    "SPACE_SUFFIXES",
    "MODELLED_RUNTIMES",
    "STAGES",
    "Component",
    "ComponentTerm",
    "DIMENSIONS",
    "Dimension",
    "EncodedSpecs",
    "Operations",
    "SearchSpace",
    "SpaceLike",
    "SubDiTSpec",
    "TextInput",
    "WeightSizes",
    "activation_bytes",
    "all_components",
    "built_in_space",
    "closed_form_cost",
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
    "spec_features",
    "get_space",
    "known_dimensions",
    "memory_features",
    "models_id",
    "part_activation_bytes",
    "peak_memory_bytes",
    "read_space",
    "recorded_space",
    "register_dimension",
    "register_space",
    "rename_space",
    "run_space",
    "smallest_host",
    "space_argument",
    "space_from_dict",
    "space_hash",
    "space_names",
    "space_record",
    "space_to_dict",
    "space_to_yaml",
    "spec_columns",
    "start_run",
    "sum_components",
    "weight_bytes",
]
