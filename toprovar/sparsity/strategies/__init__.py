"""Ways to plan a run, one file or folder each: see ``base``.

All emit the same :class:`~toprovar.sparsity.plan.SparsityPlan` and know nothing of the loop that
follows it.
"""
