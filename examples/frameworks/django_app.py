"""Django.  Run it: uvicorn --app-dir examples/frameworks django_app:app"""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path

from ductape_asgi import DuctapeError, DuctapeMiddleware, Sessions, new_access_key, require_role, require_session

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"])
sessions = Sessions(access_key=new_access_key(), product="shop", env="dev", store="memory://")


def guarded(guard, view):
    async def check_and_view(request):
        try:
            return await view(request, await guard(request))
        except DuctapeError as error:
            return HttpResponse(status=error.status, headers={"WWW-Authenticate": "Bearer"})

    return check_and_view


async def sign_in(request, name):
    data = {"userId": name, "role": "admin" if name == "ann" else "clerk"}  # Check a password here.
    issued = await sessions.start(tag="user-session", data=data, client=request.scope)
    return JsonResponse({"token": issued.token})


async def hello(request, session):
    return HttpResponse(f"you are {session.identifier}")


urlpatterns = [
    path("sign-in/<name>", sign_in),
    path("me", guarded(require_session, hello)),
    path("admin", guarded(require_role("admin"), hello)),
]
app = DuctapeMiddleware(get_asgi_application(), sessions=sessions, tag="user-session")
