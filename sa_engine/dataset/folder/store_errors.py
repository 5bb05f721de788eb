"""What an object store's client raises, as a few kinds of error that say what to do."""

import errno
from collections.abc import Mapping

from sa_engine.dataset.folder.place import ENDPOINTS, Place
from sa_engine.errors import DatasetError, UsageError

NO_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName"})
_NO_OBJECT = frozenset({"404", "NoSuchKey"})
_REFUSED = frozenset({"403", "401", "AccessDenied", "AllAccessDisabled", "Forbidden"})
TAKEN = frozenset({"409", "412", "PreconditionFailed", "ConditionalRequestConflict"})
_BAD_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_OTHER_REGION = frozenset(
    {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
)
# Names of classes, for their packages are loaded only where they are used.
_NO_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "DefaultCredentialsError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RefreshError",
        "TokenRetrievalError",
    }
)
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS",
}
# Whatever their own errors are called, they are of the way to the store.
_CLIENTS = frozenset({"aiobotocore", "aiohttp", "botocore", "fsspec", "google", "requests"})


def explain(error: Exception, place: Place) -> Exception:
    code, kind, url = code_of(error), type(error).__name__, place.url
    text = " ".join(str(error).split()) or kind
    if code in NO_BUCKET:
        return no_bucket(place)
    if code in _BAD_CREDENTIALS:
        return UsageError(
            f"the store refuses the credentials for {url} ({code}): "
            f"{_CREDENTIALS[place.scheme]} to valid ones, and run the same command again"
        )
    if code in _OTHER_REGION:
        return UsageError(
            f"the bucket of {url} is in another region ({text}): set AWS_DEFAULT_REGION to it"
        )
    if kind in _NO_CREDENTIALS:
        return UsageError(f"no credentials for {url} ({text}): {_CREDENTIALS[place.scheme]}")
    if code in _NO_OBJECT or isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", url)
    if code in _REFUSED or isinstance(error, PermissionError):
        return PermissionError(errno.EACCES, "the credentials give no permission", url)
    from_client = type(error).__module__.partition(".")[0] in _CLIENTS and code is None
    if from_client or isinstance(error, TimeoutError | ConnectionError):
        return _unreachable(text, place)
    if code is not None and (code.startswith("5") or code in ("InternalError", "SlowDown")):
        return _unreachable(f"{code}: {text}", place)
    if isinstance(error, OSError):
        return OSError(error.errno or errno.EIO, text, url)
    return error


def no_bucket(place: Place) -> UsageError:
    return UsageError(
        f"there is no bucket {place.bucket!r} for {place.url}: create it, or correct the URL"
    )


def _unreachable(text: str, place: Place) -> DatasetError:
    return DatasetError(
        f"cannot reach the store of {place.url}: {text}: check the network and "
        f"{ENDPOINTS[place.scheme][0]}, and run the same command again; it continues"
    )


def code_of(error: BaseException | None) -> str | None:
    """The store's own word for what went wrong; None if it did not come to an answer."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, Mapping) and "Error" in response:
            return str(response["Error"].get("Code", ""))
        code = getattr(error, "code", None)
        if isinstance(code, int | str):
            return str(code)
        error = error.__cause__
    return None
