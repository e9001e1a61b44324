package sample

import "testing"

func TestCheck(t *testing.T) {
	if Check(1) == nil || Check(5) != nil {
		t.Error("wrong")
	}
}

func TestSum(t *testing.T) {
	if sum, cut := Sum([]int{1, 2, 3, 4}, 0); sum != 6 || cut {
		t.Errorf("%d, %v", sum, cut)
	}
}
