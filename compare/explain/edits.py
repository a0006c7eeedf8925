"""The table of edits: how one mistake differs from the right formula, in the syntax tree.

One table serves three purposes: repairing a wrong backward, mutating a right one to learn what a check is worth, and
making the corpus of edits. Each entry is a pattern on nodes with the edits that it proposes there, the mistake that it
mends, and a sentence for the learner.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from compare.explain import edits_calls, edits_operators, edits_places, edits_statements, edits_terms
from compare.explain.site import Proposal, Site

Proposals = Callable[[Site], Iterator[Proposal]]


@dataclass(frozen=True)
class Edit:
    """One kind of edit: where it applies, what it proposes, and the mistake that it mends."""

    name: str
    pattern: tuple[type[ast.AST], ...]
    proposals: Proposals
    cause: str  # unless a proposal names its own
    inverse: str  # the edit that plants what this one mends
    cost: float  # the likelier, the lower
    says: str
    diz: str


EDITS: tuple[Edit, ...] = (
    Edit(
        "swap the operator",
        (ast.BinOp, ast.AugAssign),
        edits_operators.operator,
        "wrong_factor",
        "swap the operator",
        1.0,
        "another operator belongs here",
        "aqui vai outro operador",
    ),
    Edit(
        "turn the sign",
        (ast.expr,),
        edits_operators.sign,
        "sign",
        "turn the sign",
        1.2,
        "the sign is the wrong way round",
        "o sinal está trocado",
    ),
    Edit(
        "transpose",
        (ast.expr,),
        edits_operators.transpose,
        "missing_transpose",
        "transpose",
        1.0,
        "a transpose is missing or one too many",
        "falta ou sobra uma transposta",
    ),
    Edit(
        "take a factor or term out",
        (ast.BinOp,),
        edits_operators.drop,
        "extra_derivative",
        "put a factor in",
        1.4,
        "a factor or term is one too many",
        "sobra um fator ou termo",
    ),
    Edit(
        "exchange operands",
        (ast.BinOp, ast.Call),
        edits_operators.exchange,
        "order_of_operations",
        "exchange operands",
        2.0,
        "two operands are the wrong way round",
        "dois operandos estão trocados",
    ),
    Edit(
        "move a bracket",
        (ast.BinOp,),
        edits_operators.bracket,
        "order_of_operations",
        "move a bracket",
        2.2,
        "the brackets stand in the wrong place",
        "os parênteses estão no lugar errado",
    ),
    Edit(
        "change a number",
        (ast.Constant, ast.UnaryOp),
        edits_places.number_changed,
        "wrong_factor",
        "change a number",
        2.0,
        "another number belongs here",
        "aqui vai outro número",
    ),
    Edit(
        "replace a name",
        (ast.Name, ast.Subscript),
        edits_places.name_replaced,
        "wrong_operand",
        "replace a name",
        1.8,
        "another quantity belongs here",
        "aqui vai outra quantidade",
    ),
    Edit(
        "compare otherwise",
        (ast.Compare,),
        edits_places.comparison,
        "wrong_mask",
        "compare otherwise",
        1.6,
        "the comparison selects the wrong entries",
        "a comparação escolhe as entradas erradas",
    ),
    Edit(
        "index otherwise",
        (ast.Subscript,),
        edits_places.index,
        "wrong_index",
        "index otherwise",
        2.0,
        "the index or slice is off",
        "o índice ou a fatia está errado",
    ),
    Edit(
        "sum for mean",
        (ast.Call,),
        edits_calls.sum_for_mean,
        "missing_mean",
        "sum for mean",
        1.2,
        "a sum stands where a mean belongs, or the reverse",
        "há uma soma onde vai uma média, ou o contrário",
    ),
    Edit(
        "another axis",
        (ast.Call,),
        edits_calls.axis,
        "wrong_axis",
        "another axis",
        1.3,
        "this runs along the wrong axis",
        "isto percorre o eixo errado",
    ),
    Edit(
        "reduce",
        (ast.expr,),
        edits_calls.reduce,
        "bias_not_reduced",
        "take a call out",
        2.4,
        "the sum over an axis is left out",
        "falta a soma sobre um eixo",
    ),
    Edit(
        "take a call out",
        (ast.Call,),
        edits_calls.unwrap,
        "extra_derivative",
        "call a function",
        1.8,
        "this call does not belong here",
        "esta chamada não pertence aqui",
    ),
    Edit(
        "another function",
        (ast.Call,),
        edits_calls.function,
        "wrong_activation_derivative",
        "another function",
        2.6,
        "another function belongs here",
        "aqui vai outra função",
    ),
    Edit(
        "call a function",
        (ast.expr,),
        edits_calls.wrap,
        "wrong_operand",
        "take a call out",
        3.2,
        "a function has to be applied here",
        "aqui é preciso aplicar uma função",
    ),
    Edit(
        "put a factor in",
        (ast.expr,),
        edits_terms.factor,
        "missing_factor",
        "take a factor or term out",
        2.2,
        "a factor is left out",
        "falta um fator",
    ),
    Edit(
        "put a term in",
        (ast.expr,),
        edits_terms.term,
        "missing_path",
        "take a factor or term out",
        2.8,
        "a term is left out: one more path leads to the cost",
        "falta um termo: há mais um caminho até o custo",
    ),
    Edit(
        "replace an expression",
        (ast.BinOp, ast.Call, ast.UnaryOp),
        edits_terms.replaced,
        "wrong_operand",
        "replace an expression",
        3.4,
        "another quantity belongs in place of this expression",
        "outra quantidade vai no lugar desta expressão",
    ),
    Edit(
        "the full Jacobian",
        (ast.BinOp,),
        edits_terms.full_jacobian,
        "diagonal_jacobian",
        "replace an expression",
        1.0,
        "softmax couples its outputs: the sum over the others is left out",
        "softmax acopla as saídas: falta a soma sobre as outras",
    ),
    Edit(
        "assign or add",
        (ast.stmt,),
        edits_statements.accumulate,
        "overwritten",
        "assign or add",
        1.2,
        "this overwrites where it should add",
        "isto sobrescreve onde deveria somar",
    ),
    Edit(
        "leave a statement out",
        (ast.stmt,),
        edits_statements.leave_out,
        "modified_in_place",
        "leave a statement out",
        1.6,
        "this statement does not belong here",
        "esta instrução não pertence aqui",
    ),
    Edit(
        "copy before changing",
        (ast.Assign,),
        edits_statements.copied,
        "modified_in_place",
        "copy before changing",
        2.4,
        "two names share one array: a change of one changes the other",
        "dois nomes partilham o mesmo vetor: mudar um muda o outro",
    ),
    Edit(
        "rename throughout",
        (ast.stmt,),
        edits_statements.renamed,
        "wrong_operand",
        "rename throughout",
        2.4,
        "another quantity belongs in this statement",
        "outra quantidade vai nesta instrução",
    ),
)
