package sample

import "testing"

func TestGrade(t *testing.T) {
	if Grade(51, false) != "passed" || Grade(51, true) != "failed" || Grade(49, false) != "failed" || Grade(-1, false) != "impossible" ||
		Grade(0, false) != "failed" {
		t.Error("Grade")
	}
}

func TestSum(t *testing.T) {
	if sum, _ := Sum(1, 0, 2); sum != 3 {
		t.Error("Sum")
	}
}

func TestKind(t *testing.T) {
	if Kind(1) != "number" || Kind("") != "text" || Kind(nil) != "other" {
		t.Error("Kind")
	}
}

func TestBetween(t *testing.T) {
	if Between(1, 3) != 3 {
		t.Error("Between")
	}
}

func TestLateEither(t *testing.T) {
	for _, c := range [][3]bool{{false, false, false}, {true, false, true}, {false, true, true}} {
		if both, at := Either(c[0], c[1]); both != c[2] || *at != both {
			t.Error("Either")
		}
	}
}
