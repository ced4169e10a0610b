package compare

import "slices"

// Median is the one in the middle, or the mean of the two there; 0 of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// beside gives the rounds' own ratios or differences: both sides of each were measured
// one after the other. It is nil where there are not equally many of both, or nothing
// to divide by.
func beside(by Comparison, a, b []float64) []float64 {
	if len(a) != len(b) || by == None {
		return nil
	}
	var all []float64
	for i := range a {
		switch {
		case by == Difference:
			all = append(all, a[i]-b[i])
		case b[i] == 0:
			return nil
		default:
			all = append(all, a[i]/b[i])
		}
	}
	return all
}
