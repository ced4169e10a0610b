// Package nearest finds the name that was probably meant by one that is unknown.
package nearest

// Name returns the one of names that was probably meant by word, "" when none is
// near enough.
func Name(word string, names []string) string {
	best, least := "", max(len(word)/3, 1)+1
	for _, name := range names {
		if d := Distance(word, name, least); d < least {
			best, least = name, d
		}
	}
	return best
}

// Distance counts the letters to insert, delete, replace or swap with their
// neighbour that turn a into b (optimal string alignment). Words longer than
// 64 bytes or whose lengths differ by bound or more are bound apart.
func Distance(a, b string, bound int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	var rows [3][65]int // the row before the last, the last, this one
	for j := range len(b) + 1 {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		rows[2][0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[1][j]+1, rows[2][j-1]+1, rows[1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[0][j-2]+1)
			}
			rows[2][j] = d
		}
		rows[0], rows[1] = rows[1], rows[2]
	}
	return rows[1][len(b)]
}
