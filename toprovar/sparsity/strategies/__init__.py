"""Ways to plan a run, one file each.

All emit the same :class:`~toprovar.sparsity.plan.SparsityPlan` and know nothing of the loop that
follows it.
"""
