"""Reports for people: charts as SVG (`chart`) and HTML pages (`html`). Knows nothing of hamlet."""
