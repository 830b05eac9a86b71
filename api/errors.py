"""Every refusal, as the public API and our own word it.

ApiError
├─ InvalidKey        401
├─ NotAllowed        403, the scope that the key lacks
├─ InvalidFields     400, with what is wrong with each field
├─ UnknownModel      400
├─ UnreadableBody    400
├─ BodyTooSlow       408
├─ BodyTooLarge      413
├─ HeadTooLarge      431
├─ NotFound          404
├─ TooManyJobs       429, with retry_after
├─ TooManyRequests   429, with retry_after
├─ TooManyStreams    429, in /v1
├─ RepeatedKey       409
├─ NotFinished       409
├─ NoSuchJob         404, in /v1
├─ AlreadyOver       409, in /v1
├─ NothingToReplay   409, in /v1
├─ NotHere           501
├─ Fault             500
└─ Unavailable       503, with retry_after
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from api.dialects import V1, Dialect
from shared.tenants import Scope

REQUIRED = "is required"
CHECKLIST = (
    "1. Make sure you are passing Content-Type: application/json in header. "
    "2. Make sure you are doing POST request with valid JSON. "
    "3. Make sure your JSON does not have error, use jsonlint to validate json array. "
    "4. Make sure you have valid API key."
)


class ApiError(Exception):
    """A refusal: its status, its message, and what else its body has."""

    status = 400
    code = "invalid_request"
    """Stable, for programs; /v1 shows it."""
    param: str | None = None
    """The field that it is about."""
    hangs_up = False
    """Whether the connection ends with it."""

    def __init__(self, message: str = "", **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.extra = extra

    def worded(self, dialect: Dialect) -> str | dict[str, list[str]]:  # noqa: ARG002 - some do
        """The message, as this version of the API has it."""
        return self.message

    def body(self, dialect: Dialect) -> dict[str, Any]:
        """The answer."""
        message = self.worded(dialect)
        # Older clients read the misspelt name, newer ones the other.
        return {"status": "error", "message": message, "messege": message, **self.extra}

    def v1_body(self, request_id: str, public_url: str) -> dict[str, Any]:
        """The answer of our own API."""
        return {
            "error": {
                "code": self.code,
                "param": self.param,
                "message": self.worded(V1),
                "request_id": request_id,
                "docs_url": f"{public_url.rstrip('/')}/v1/errors/{self.code}",
            }
        }

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After, where the body has it; and the end, where nobody reads what still comes."""
        wait = self.extra.get("retry_after")
        retry = {"Retry-After": str(wait)} if wait else {}
        return retry | ({"Connection": "close"} if self.hangs_up else {})


class InvalidKey(ApiError):
    """No key, or one that is nobody's."""

    status = 401
    code = "invalid_key"

    def __init__(self, *, given: bool) -> None:
        super().__init__(tip=CHECKLIST)
        self._given = given

    def worded(self, dialect: Dialect) -> str:
        """See `ApiError`."""
        if dialect.is_modern:
            return "Invalid API key" if self._given else "API key required"
        return "Invalid Api Key"


class NotAllowed(ApiError):
    """The key is somebody's, and not for this."""

    status = 403
    code = "not_allowed"

    def __init__(self, scope: Scope) -> None:
        super().__init__(f"This API key lacks the scope {scope}")


class InvalidFields(ApiError):
    """Fields that cannot be used: name -> what is wrong with it, to be read after the name."""

    code = "invalid_field"

    def __init__(self, reasons: Mapping[str, list[str]]) -> None:
        super().__init__(str(reasons))
        self.reasons = reasons
        self.param = next(iter(reasons), None)

    @classmethod
    def of(cls, field: str, reason: str) -> "InvalidFields":
        """One field, one reason."""
        return cls({field: [reason]})

    def worded(self, dialect: Dialect) -> str | dict[str, list[str]]:
        """One text, or sentences for each field."""
        if dialect.is_modern:
            return "; ".join(f"{field} {r}" for field, rs in self.reasons.items() for r in rs)
        return {
            field: [_sentence(field, reason) for reason in reasons]
            for field, reasons in self.reasons.items()
        }


class UnknownModel(ApiError):
    """A model that is not on the allow-list."""

    code = "unknown_model"
    param = "model_id"

    def worded(self, dialect: Dialect) -> str:
        """See `ApiError`; its message is the id."""
        return f"Model not found: {self.message}" if dialect.is_modern else "Model id not found"


class UnreadableBody(ApiError):
    """Not JSON, not a form, or more of either than is read."""

    code = "unreadable_body"

    def __init__(self, message: str = "Invalid API Request") -> None:
        super().__init__(message, tip=CHECKLIST)


class BodyTooLarge(ApiError):
    """More bytes than a request may have."""

    status = 413
    code = "body_too_large"
    hangs_up = True

    def __init__(self, most: int) -> None:
        super().__init__(f"The request must be at most {most // 2**20} MiB")


class BodyTooSlow(ApiError):
    """It came so slowly that nobody waits for the rest."""

    status = 408
    code = "body_too_slow"
    hangs_up = True

    def __init__(self) -> None:
        super().__init__("The request's body came too slowly")


class HeadTooLarge(ApiError):
    """An address or headers that no client has."""

    status = 431
    code = "head_too_large"
    hangs_up = True

    def __init__(self, most: int) -> None:
        super().__init__(f"The address and the headers must be at most {most // 2**10} KiB")


class TooManyJobs(ApiError):
    """The tenant has as many jobs as it may have."""

    status = 429
    code = "too_many_jobs"

    def __init__(self, most: int, retry_after: int) -> None:
        message = f"Rate limit exceeded. Maximum {most} queued requests allowed."
        super().__init__(message, retry_after=retry_after)


class TooManyRequests(ApiError):
    """The key, or an address with wrong ones, asks too often."""

    status = 429
    code = "too_many_requests"

    def __init__(self, most: float, unit: str, retry_after: int) -> None:
        message = f"Rate limit exceeded. Maximum {most:g} requests per {unit} allowed."
        super().__init__(message, retry_after=retry_after)


class TooManyStreams(ApiError):
    """The tenant follows as many jobs as it may."""

    status = 429
    code = "too_many_streams"

    def __init__(self, most: int) -> None:
        super().__init__(f"At most {most} event streams may be open at a time; close one first")


class RepeatedKey(ApiError):
    """An idempotency key that came with another request before."""

    status = 409
    code = "repeated_key"
    param = "Idempotency-Key"

    def __init__(self) -> None:
        super().__init__("The Idempotency-Key was used before with another request")


class NotFound(ApiError):
    """Nothing of that name, or another tenant's: the answer is the same."""

    status = 404
    code = "not_found"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} not found")


class NotFinished(ApiError):
    """What is asked for can be done when the job has ended."""

    status = 409
    code = "not_finished"

    def __init__(self) -> None:
        super().__init__("The request is still processing: delete its images when it is done")


class NoSuchJob(ApiError):
    """An id that is unknown, or another tenant's."""

    status = 404
    code = "no_such_job"

    def __init__(self) -> None:
        super().__init__("No job of this key has that id, or it has expired")


class AlreadyOver(ApiError):
    """A job that cannot be cancelled any more."""

    status = 409
    code = "already_over"

    def __init__(self, state: str) -> None:
        super().__init__(f"The job has {state} already; nothing was changed")


class NothingToReplay(ApiError):
    """A webhook that cannot be delivered once more."""

    status = 409
    code = "nothing_to_replay"

    def __init__(self) -> None:
        super().__init__("The job is not over, has no webhook, or had it replayed just now")


class NotHere(ApiError):
    """Something of the public API that this server does not do."""

    status = 501
    code = "not_here"

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} is not available on this server: {reason}")


class Fault(ApiError):
    """Ours; the details are in the log."""

    status = 500
    code = "internal_error"


class Unavailable(ApiError):
    """Something behind the door is away or full: nothing was accepted."""

    status = 503
    code = "unavailable"

    def __init__(self, retry_after: int = 5) -> None:
        message = "Service temporarily unavailable. Please try again later."
        super().__init__(message, retry_after=retry_after)


def always_200(request: Request, default: bool) -> bool:
    """Whether this caller reads bodies only, by its key or else by the deployment's default.

    Only the public API has such clients: an image that is missing is missing.
    """
    tenant = getattr(request.state, "tenant", None)
    own = tenant.errors_as_200 if tenant else None
    return request.url.path.startswith("/api/") and (default if own is None else own)


def _sentence(field: str, reason: str) -> str:
    name = field.replace("_", " ")
    return f"The {name} field {reason}." if reason == REQUIRED else f"The {name} {reason}."
