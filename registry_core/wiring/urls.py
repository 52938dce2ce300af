"""Which Django view answers which path. `/v2/` and `/service/token` do not come here: the data path answers them."""

from django.urls import URLPattern, URLResolver, include, path

from registry_core.api import converters
from registry_core.api.views import VersionView

converters.register()

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v2.0/", include("rbac.api.urls")),
    path("api/v2.0/", include("projects.api.urls")),
    path("api/v2.0/", include("registry_core.api.urls")),
    path("api/version", VersionView.as_view()),
    path("c/", include("rbac.api.session_urls")),
    path("", include("frontend.urls")),
]

handler400 = "frontend.views.errors.bad_request"
handler403 = "frontend.views.errors.forbidden"
handler404 = "frontend.views.errors.not_found"
handler500 = "frontend.views.errors.server_error"
