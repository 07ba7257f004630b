"""resource.k8s.io/v1 as the API server checks it: strict decoding, rules, the same paths and the same words.

    match decode(text):
        case Undecodable() as refusal: print(refusal.message)
        case Decoded(object=claim):
            for error in validate(claim): print(error)

Errors are values. `decode` finds what the API server finds with `fieldValidation=Strict`; `validate`, `validate_update`
and `validate_status_update` find what it finds afterwards, with the feature gates and the namespace's labels that they
are given. Compared with the real API server by tests/integration/test_validation.py.
"""

from dra_operator.validation.documents import Decoded, Undecodable, decode, refusal
from dra_operator.validation.errors import ErrorType, FieldError, summary
from dra_operator.validation.gates import DEFAULT_GATES, Gates
from dra_operator.validation.operations import validate, validate_status_update, validate_update

__all__ = [
    "DEFAULT_GATES",
    "Decoded",
    "ErrorType",
    "FieldError",
    "Gates",
    "Undecodable",
    "decode",
    "refusal",
    "summary",
    "validate",
    "validate_status_update",
    "validate_update",
]
