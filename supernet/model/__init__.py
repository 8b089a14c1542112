"""The model: `SubDiT`, its layers, and `ElasticDiT`, which holds all sub-DiTs of a space in one set of weights."""
