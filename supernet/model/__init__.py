"""The model: `SubDiT`, its layers, and `ElasticDiT`, all sub-DiTs of a space in one set of weights."""
