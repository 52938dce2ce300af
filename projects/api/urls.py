"""The addresses of projects and of what is in them."""

from typing import Final

from django.urls import path

from projects.api import additions, artifacts, labels, projects, repositories, search, tags

# A repository's name may hold slashes: what is longer stands first.
REPOSITORIES: Final = "projects/<str:project_name>/repositories"
ARTIFACTS: Final = f"{REPOSITORIES}/<repository:repository_name>/artifacts"
ARTIFACT: Final = f"{ARTIFACTS}/<str:reference>"

urlpatterns = [
    path("projects", projects.ProjectsView.as_view()),
    path("projects/<str:project_name_or_id>", projects.ProjectView.as_view()),
    path("projects/<str:project_name_or_id>/_deletable", projects.DeletableView.as_view()),
    path("projects/<str:project_name_or_id>/artifacts", artifacts.ProjectArtifactsView.as_view()),
    path(f"{ARTIFACT}/additions/vulnerabilities", additions.VulnerabilitiesView.as_view()),
    path(f"{ARTIFACT}/additions/<str:addition>", additions.AdditionView.as_view()),
    path(f"{ARTIFACT}/labels/<int:label_id>", labels.ArtifactLabelView.as_view()),
    path(f"{ARTIFACT}/labels", labels.ArtifactLabelsView.as_view()),
    path(f"{ARTIFACT}/tags/<str:tag_name>", tags.TagView.as_view()),
    path(f"{ARTIFACT}/tags", tags.TagsView.as_view()),
    path(f"{ARTIFACT}/accessories", artifacts.AccessoriesView.as_view()),
    path(ARTIFACT, artifacts.ArtifactOfReferenceView.as_view()),
    path(ARTIFACTS, artifacts.ArtifactsView.as_view()),
    path(REPOSITORIES, repositories.RepositoriesView.as_view()),
    path(f"{REPOSITORIES}/<last_repository:repository_name>", repositories.RepositoryView.as_view()),
    path("repositories", repositories.AllRepositoriesView.as_view()),
    path("labels", labels.LabelsView.as_view()),
    path("labels/<int:label_id>", labels.LabelView.as_view()),
    path("search", search.SearchView.as_view()),
    path("icons/<str:digest>", search.IconView.as_view()),
]
