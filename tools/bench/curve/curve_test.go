package curve

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func line(name string, cost func(n float64) float64) Line {
	l := Line{Name: name}
	for _, n := range []float64{10, 100, 1000, 10_000, 100_000} {
		l.Points = append(l.Points, Point{n, cost(n)})
	}
	return l
}

func TestSlope(t *testing.T) {
	for _, test := range []struct {
		name string
		cost func(n float64) float64
		want float64
	}{
		{"flat", func(float64) float64 { return 3 }, 0},
		{"linear with a fixed cost", func(n float64) float64 { return 20 + n }, 1},
		{"quadratic", func(n float64) float64 { return n * n / 7 }, 2},
	} {
		if got := line(test.name, test.cost).Slope(); math.Abs(got-test.want) > 0.05 {
			t.Errorf("%s: the slope is %.2f, want %.2f", test.name, got, test.want)
		}
	}
}

func TestSaveDrawsAPicture(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "docs")
	f := Figure{File: "growth", Title: "Cost against pods", Size: "pods", Cost: "microseconds",
		Lines: []Line{line("cold fold", func(n float64) float64 { return 5 * n }), line("pod added", func(float64) float64 { return 4 })}}
	if err := f.Save(dir); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(dir, "growth.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil || picture.Bounds().Dx() < 300 {
		t.Errorf("the picture is %v: %v", picture, err)
	}
}
