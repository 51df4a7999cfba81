"""Due diligence: five at once, one hangs, two disagree; what is known in time is the answer, the rest is named."""

from pathlib import Path

from examples.stories.kit import Ask, Story, hangs, says, takes

filings = says(
    {"founded": 2011, "revenue_m": 41.2, "employees": 312},
    summary="Founded in 2011, 41.2 million revenue, 312 employees.",
)
press = says(
    {"revenue_m": 55, "employees": 310, "products": ["Gripper 3", "Crawler"]},
    summary="55 million revenue, two products.",
)
courts = says({"suits": [{"id": "C-204", "about": "a patent on grippers"}]}, summary="One suit, on a patent.")
owners = says(
    {"owners": ["Hale family", "North Fund"], "suits": [{"id": "C-204", "state": "open"}]},
    summary="Two owners, one open suit.",
)

STORY = Story(
    folder=Path(__file__).parent,
    agents={
        "filings": takes(0.5, filings),
        "press": takes(0.7, press),
        "courts": takes(0.6, courts),
        "owners": takes(0.5, owners),
        "accounts": hangs(),
    },
    asks=(Ask(workflow="due-diligence", message="Look at Harbour Robotics.", data={"company": "Harbour Robotics"}),),
)
