// Package sample is changed by the tests of mutate.
package sample

import "errors"

var errSmall = errors.New("small")

// Check refuses what is less than three. Its test never tries three itself.
func Check(n int) error {
	if n < 3 {
		return errSmall
	}
	return nil
}

// Sum adds what is even, as far as the limit. Nothing tries a limit.
func Sum(list []int, limit int) (sum int, cut bool) {
	for _, n := range list {
		switch {
		case n%2 != 0:
			continue
		case limit > 0 && sum >= limit:
			return sum, true
		}
		sum += n
	}
	return sum, false
}
