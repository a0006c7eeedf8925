"""The causes of wrong steps: what each mistake is, how it looks, and how to mend it. Identifiers are stable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """One kind of mistake."""

    title: str
    what: str
    looks: str
    mend: str
    titulo: str
    frase: str


CAUSES: dict[str, Cause] = {
    "missing_activation_derivative": Cause(
        "the activation's derivative is left out",
        "delta = dJ/dz is dJ/da times sigma'(z), entry by entry; the factor sigma'(z), or a part of it, is missing.",
        "Given and expected differ by a factor that is another one in every entry, and equals sigma'(z).",
        "Multiply by the derivative: `dz = da * a * (1 - a)` for a sigmoid, `da * (1 - a ** 2)` for tanh.",
        "falta a derivada da ativação",
        "Multiplique por sigma'(z), elemento a elemento.",
    ),
    "wrong_activation_derivative": Cause(
        "the derivative of another function",
        "A derivative stands there, but not that of the activation that the forward uses.",
        "The ratio of expected and given changes from entry to entry and depends on z alone.",
        "Differentiate the function of the forward itself: d tanh = 1 - a^2, d sigmoid = a (1 - a), d x^n = n x^(n-1).",
        "derivada de outra função",
        "Use a derivada da função que o forward aplica.",
    ),
    "derivative_at_wrong_place": Cause(
        "the derivative is taken at the wrong place",
        "sigma' is right, but it is evaluated at a where z belongs, or a formula written in a is fed with z.",
        "Small near z = 0, growing away from it; exchanging z and a makes it vanish.",
        "sigma'(z) = sigma(z) (1 - sigma(z)): apply the function to z, or the formula a (1 - a) to a, not both.",
        "derivada no ponto errado",
        "Avalie sigma' em z, ou a fórmula a (1 - a) em a.",
    ),
    "extra_derivative": Cause(
        "a derivative or factor too many",
        "A factor is applied that the combined formula already holds, or applied twice.",
        "Given is expected times a factor such as a (1 - a), so it is too small where units saturate.",
        "For log-loss with a sigmoid, or cross-entropy with softmax, dJ/dz is (a - y)/m: sigma' has cancelled.",
        "derivada ou fator a mais",
        "Com log-loss e sigmoide, dJ/dz já é (a - y)/m: não multiplique por sigma' de novo.",
    ),
    "missing_transpose": Cause(
        "a transpose is missing or one too many",
        "A matrix enters a product untransposed where its transpose belongs, or the reverse.",
        "A shape error; where the shapes agree by chance, the transpose of an operand makes it right.",
        "With z = a W^T + b: dW = dz^T a and da = dz W. Check the shapes with all dimensions different.",
        "transposta faltando ou sobrando",
        "Com z = a W^T + b: dW = dz^T a e da = dz W.",
    ),
    "elementwise_for_matmul": Cause(
        "element-wise product for matrix product",
        "* stands where @ belongs, or @ where * belongs.",
        "Shapes that agree by broadcasting, or only for square matrices.",
        "A delta passes through a weight by a matrix product, and through an activation entry by entry.",
        "produto elemento a elemento no lugar do matricial",
        "Pelos pesos passa-se com produto matricial; pela ativação, elemento a elemento.",
    ),
    "sign": Cause(
        "the sign is wrong",
        "Minus for plus, or a difference the wrong way round.",
        "Given is minus expected, or one term of it has the wrong sign.",
        "For half square and log-loss the delta is output minus target.",
        "sinal trocado",
        "O delta é saída menos alvo, não o contrário.",
    ),
    "wrong_factor": Cause(
        "a constant factor is wrong",
        "A constant such as 2, 1/2, a learning rate or a scale is missing, one too many or another.",
        "The ratio of given and expected is the same number in every entry.",
        "Follow the constant from the cost: the 1/2 of the half square cancels the 2; lr belongs in the update only.",
        "fator constante errado",
        "Siga a constante desde o custo; a taxa de aprendizado só entra na atualização.",
    ),
    "missing_mean": Cause(
        "1/m is left out",
        "The cost averages, the gradient sums: a factor 1/m, or the 1/n of another mean, is missing.",
        "Given is m times expected, with m the batch size or another dimension.",
        "Divide once by what the forward divides by: best in the delta of the last layer.",
        "falta dividir por m",
        "Divida uma vez pelo que o forward divide.",
    ),
    "mean_twice": Cause(
        "divided by m twice",
        "1/m stands in the delta already and is applied again, in dW, db or a hidden delta.",
        "Expected is m times given.",
        "1/m comes from the cost once; every later step inherits it through the delta.",
        "dividido por m duas vezes",
        "O 1/m vem do custo uma vez; os passos seguintes já o herdam.",
    ),
    "wrong_count": Cause(
        "divided by the wrong number",
        "An average over another dimension's size, or n - 1 for n.",
        "The ratio is one of two sizes, and changes with the batch or the width.",
        "Count what the forward averages over: `len(x)` is rows, `z.numel()` is every entry.",
        "dividido pelo número errado",
        "Conte aquilo sobre o que o forward tira a média.",
    ),
    "bias_not_reduced": Cause(
        "the sum over samples is left out",
        "A parameter that is shared by all samples gets their gradients one by one, not their sum.",
        "The gradient has a batch dimension that the parameter does not have.",
        "Sum over every axis along which the parameter was broadcast: `db = dz.sum(0)`.",
        "falta somar sobre as amostras",
        "Some sobre os eixos em que o parâmetro foi difundido: db = dz.sum(0).",
    ),
    "wrong_axis": Cause(
        "the wrong axis",
        "A sum, mean, softmax or shift runs along another axis than in the forward.",
        "Rows and columns exchanged; visible only where the dimensions differ.",
        "Use the axis of the forward, and keepdim where the result is broadcast back.",
        "eixo errado",
        "Use o mesmo eixo do forward, com keepdim onde o resultado é difundido.",
    ),
    "missing_l2": Cause(
        "the gradient of the penalty is left out",
        "The cost holds (l2/2) sum W^2, the gradient lacks l2 W.",
        "The difference is proportional to the weight itself.",
        "Add `l2 * W` to dW.",
        "falta o gradiente da penalidade",
        "Some l2 * W a dW.",
    ),
    "wrong_l2": Cause(
        "the penalty's gradient is wrong",
        "The penalty has the wrong factor or sign, is taken of another tensor, or is on biases as well.",
        "The difference is proportional to the parameter, by a wrong factor.",
        "(l2/2) sum W^2 gives l2 W, for the weights that the cost penalises and no others.",
        "gradiente da penalidade errado",
        "(l2/2) soma W^2 dá l2 W, só para os pesos penalizados.",
    ),
    "wrong_layer": Cause(
        "a quantity of another layer",
        "The activation, weight or delta of a neighbouring layer stands where this layer's belongs.",
        "A shape error, or, with equal widths, numbers of the right size that are unrelated.",
        "dW[l] = delta[l]^T a[l-1]; delta[l] = (delta[l+1] W[l+1]) * sigma'(z[l]).",
        "grandeza de outra camada",
        "dW[l] = delta[l]^T a[l-1]; delta[l] = (delta[l+1] W[l+1]) * sigma'(z[l]).",
    ),
    "wrong_operand": Cause(
        "another quantity",
        "Another quantity of the same step is used: dW for W, x for xhat, one gate for another.",
        "Numbers of the right size that are unrelated to what is expected.",
        "Derive the product rule again: each factor's gradient holds the *other* factors.",
        "grandeza errada",
        "Na regra do produto, o gradiente de um fator contém os outros fatores.",
    ),
    "updated_weight": Cause(
        "a weight that has already been updated",
        "The update runs before the delta has passed through the old weight.",
        "The error grows with the learning rate and vanishes at lr = 0.",
        "Compute all gradients first, then update all parameters.",
        "peso já atualizado",
        "Calcule todos os gradientes antes de atualizar.",
    ),
    "wrong_mask": Cause(
        "the mask is wrong",
        "A mask comes from the wrong tensor or comparison, is inverted, or is missing.",
        "Whole entries are zero that should not be, or the reverse; the others are right.",
        "ReLU passes the gradient where its *input* was positive; dropout where the unit was kept.",
        "máscara errada",
        "A ReLU deixa passar onde a entrada foi positiva; o dropout, onde a unidade ficou.",
    ),
    "swapped_branches": Cause(
        "the branches are exchanged",
        "The two sides of a piecewise derivative have changed places.",
        "Right nowhere; swapping the two arguments of `where` makes it right everywhere.",
        "Write the condition, then the value where it holds, then the other.",
        "ramos trocados",
        "Primeiro o valor onde a condição vale, depois o outro.",
    ),
    "diagonal_jacobian": Cause(
        "a full Jacobian is taken as diagonal",
        "Softmax couples its outputs: dx = p * (dp - sum(p * dp)). p (1 - p) dp is its diagonal only.",
        "Right for a single class, wrong otherwise; the difference is p times a sum over the other classes.",
        "Subtract the sum: `p * (dp - (p * dp).sum(-1, keepdim=True))`.",
        "jacobiana cheia tomada como diagonal",
        "Subtraia a soma: p * (dp - (p * dp).sum(-1, keepdim=True)).",
    ),
    "missing_path": Cause(
        "a path to the cost is forgotten",
        "A quantity reaches the cost in several ways and one of them is left out: a skip, a mean, a time step.",
        "The difference is exactly the contribution of one use of the quantity.",
        "Add up the gradients of all uses.",
        "um caminho foi esquecido",
        "Some as contribuições de todos os usos da grandeza.",
    ),
    "path_twice": Cause(
        "a path is counted twice",
        "One of several contributions is added again, or one that does not exist is added.",
        "The difference is one of the contributions.",
        "List the uses of the quantity in the forward; each contributes once.",
        "um caminho contado duas vezes",
        "Cada uso da grandeza contribui uma vez.",
    ),
    "overwritten": Cause(
        "overwritten where it should add",
        "= stands where += belongs: the last contribution replaces those before it.",
        "Given equals the last sample's, step's or row's share.",
        "Start from zeros and add; for repeated indices use `index_add_`.",
        "sobrescrito em vez de somado",
        "Comece de zeros e some; com índices repetidos, use index_add_.",
    ),
    "stale_state": Cause(
        "a value left from before",
        "A value of an earlier call or iteration is used again.",
        "Right at the first call, wrong at the second; or wrong in the first iteration only.",
        "Start every call and loop from zero.",
        "valor que sobrou de antes",
        "Zere o que se acumula no início de cada chamada.",
    ),
    "missing_factor": Cause(
        "a factor is left out",
        "A factor that is a tensor is missing: a gate, gamma, an input, the gradient that arrives.",
        "The ratio of expected and given equals a quantity of the forward, entry by entry.",
        "Multiply by it: by the chain rule every local derivative is a factor.",
        "falta um fator",
        "Pela regra da cadeia cada derivada local é um fator.",
    ),
    "wrong_epsilon": Cause(
        "epsilon is missing or in the wrong place",
        "sqrt(var) + eps for sqrt(var + eps), or eps left out.",
        "A relative error of about eps / var, in every entry.",
        "Use the forward's own expression, or the value that it cached.",
        "épsilon ausente ou no lugar errado",
        "Use a mesma expressão do forward, ou o valor guardado.",
    ),
    "wrong_index": Cause(
        "an index is off",
        "An index, time step, slice or position is off by one, reversed or mixed up.",
        "The right numbers in the wrong rows, or those of the neighbouring step.",
        "Write the index of every factor in the forward's formula, and keep it.",
        "índice errado",
        "Mantenha o índice de cada fator como no forward.",
    ),
    "some_samples": Cause(
        "only some of the samples count",
        "A loop ends early, or one sample stands for all.",
        "Given equals the sum without some samples.",
        "Sum over all of them.",
        "só algumas amostras contam",
        "Some sobre todas as amostras.",
    ),
    "clipped": Cause(
        "clipped or rounded",
        "A value is clipped or rounded on its way.",
        "Right until a magnitude, wrong beyond it.",
        "Leave the gradient as it is; clip, if at all, in the update.",
        "cortado ou arredondado",
        "Deixe o gradiente como é; corte só na atualização.",
    ),
    "low_precision": Cause(
        "a step in lower precision",
        "A step is computed in fewer digits than the rest.",
        "A relative error of about 1e-7 (float32) that does not move with the formula.",
        "Remove the cast, or set the dtype from the input.",
        "um passo com menos precisão",
        "Retire a conversão, ou use o dtype da entrada.",
    ),
    "order_of_operations": Cause(
        "the order of operations",
        "The right parts, bracketed, broadcast or nested the wrong way.",
        "Terms of the right size that do not belong to each other.",
        "Bracket as in the formula: `da * (1 - a ** 2)`, not `da * 1 - a ** 2`.",
        "ordem das operações",
        "Ponha os parênteses como na fórmula.",
    ),
    "modified_in_place": Cause(
        "changed before its last use",
        "Two names share an array, and one of them is changed in place while the other is still needed.",
        "A step that reads right on paper is wrong; a copy mends it.",
        "Copy first (`x.clone()`), or write `x = x + y` for `x += y`.",
        "modificado antes do último uso",
        "Copie antes (x.clone()), ou escreva x = x + y.",
    ),
    "special_case": Cause(
        "wrong in a special case only",
        "A branch or an entry is treated apart although it is like the others.",
        "Most entries are right; those of one branch, row or position are not.",
        "Remove the exception, or derive it anew.",
        "errado só num caso especial",
        "Retire a exceção, ou derive-a de novo.",
    ),
    "unknown": Cause(
        "unknown",
        "No small edit and no formula of what is in reach makes the step right.",
        "See the evidence: ratio, direction, which rows or columns are off.",
        "Derive this step again, on the smallest failing example.",
        "causa desconhecida",
        "Derive este passo de novo no menor exemplo que falha.",
    ),
}


def page() -> str:
    """The documentation's page of causes, in Markdown: `python -m compare.explain.causes > docs/causes.md`."""
    lines = [
        "# Causes",
        "",
        "Every wrong step that is explained gets one of these causes. A cause is named only where its repair makes the",
        "step right under every condition that is looked at; otherwise it is `unknown`, with evidence.",
        "`manualbp causes NAME` prints an entry. This page is written from `compare/explain/causes.py`.",
    ]
    for name, cause in CAUSES.items():
        lines += ["", f"## {name}", "", f"**{cause.title[0].upper()}{cause.title[1:]}.** {cause.what}", ""]
        lines += [f"*How it looks.* {cause.looks}", "", f"*How to mend it.* {cause.mend}", ""]
        lines += [f"*{cause.titulo[0].upper()}{cause.titulo[1:]}.* {cause.frase}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
