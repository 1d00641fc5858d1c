"""Operations on tensors, one folder each: ``reference.py`` is the specification in plain torch,
``__init__.py`` the implementation that the engine calls. They know nothing of models or plans.
"""
