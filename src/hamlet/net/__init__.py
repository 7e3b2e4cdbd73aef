"""HTTP/1.1 both ways, and every timer: beneath all that speaks HTTP."""
