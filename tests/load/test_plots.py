"""Charts as inline SVG."""

import re

from loadtest.engine.charts import plot

TEXT = re.compile(r'<text x="([\d.]+)" y="([\d.]+)" fill="#\w{6}">(.*?)</text>')


def test_the_names_of_the_lines_stand_where_no_line_can_run() -> None:
    names = [f"the line that is called {i} & more" for i in range(5)]
    drawn = plot("All end at the top right", {n: [(0, 0), (1, 1 + i)] for i, n in enumerate(names)})
    points = re.findall(r"[\d.]+,([\d.]+)", " ".join(re.findall(r'points="(.*?)"', drawn)))
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
    assert box is not None
    legend = {name: (float(x), float(y)) for x, y, name in TEXT.findall(drawn) if name}
    assert [*legend] == [name.replace("&", "&amp;") for name in names]
    for x, y in legend.values():
        assert max(map(float, points)) + 12 < y < float(box[2])
        assert x < float(box[1])
    assert len(set(legend.values())) == len(names)
