from fastapi import APIRouter

from api.addresses import PREFIX
from api.operations import Operation


def area(path: str, tag: str) -> APIRouter:
    """The router of one area. Its routes carry their whole template, which is what metrics and logs name them by."""
    return APIRouter(prefix=f"{PREFIX}/{path}", tags=[tag], route_class=Operation)
