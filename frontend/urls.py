"""The addresses of the console."""

from django.urls import path

from frontend.views import api_docs, projects, repositories, session, tags

urlpatterns = [
    path("", session.home, name="home"),
    path("api/docs", api_docs.api_docs, name="api-docs"),
    path("sign-in", session.sign_in, name="sign-in"),
    path("sign-out", session.sign_out, name="sign-out"),
    path("projects", projects.project_list, name="projects"),
    path("projects/<str:project>", repositories.repository_list, name="repositories"),
    path("projects/<str:project>/<path:repository>", tags.tag_list, name="tags"),
]
