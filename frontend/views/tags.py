"""One repository: its tags."""

from django.http import HttpRequest, HttpResponse

from frontend.queries import tags_page, visible_repository
from frontend.views.shared import listing_of, page, render_list, subject_of


@page
def tag_list(request: HttpRequest, project: str, repository: str) -> HttpResponse:
    """The tags of a repository. 404 also when its project is private and the user may not see it."""
    listing = listing_of(request)
    shown = visible_repository(subject_of(request), project=project, name=repository)
    return render_list(
        request,
        "projects/tags",
        {"project": shown.project, "repository": shown, "listing": listing, "page": tags_page(shown, listing)},
    )
