// Package curve draws how a cost grows with a size: both axes are logarithmic, so that a cost which grows with the size is a
// line of slope one, and one that does not is flat. It draws into PNG files and measures nothing.
package curve

import (
	"fmt"
	"math"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// Point is a cost at a size.
type Point struct{ Size, Cost float64 }

// Line is one cost over several sizes, in the order of the sizes.
type Line struct {
	Name   string
	Points []Point
}

// Figure is a picture with some lines.
type Figure struct {
	// File is its name without folder and ending.
	File, Title string
	// Size and Cost say what the axes are.
	Size, Cost string
	Lines      []Line
}

// Slope is the exponent with which the cost grows with the size: 1 is linear, 0 flat. It is the slope of the straight line
// that fits best in the logarithmic picture, over the upper half of the points, where fixed costs do not hide it.
func (l Line) Slope() float64 {
	points := l.Points
	if len(points) > 3 {
		points = points[len(points)/2-1:]
	}
	var n, sx, sy, sxx, sxy float64
	for _, p := range points {
		x, y := math.Log(p.Size), math.Log(p.Cost)
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if d := n*sxx - sx*sx; d > 0 {
		return (n*sxy - sx*sy) / d
	}
	return 0
}

// Save draws the figure into a folder, and makes the folder where it is not there.
func (f Figure) Save(dir string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = f.Title, f.Size, f.Cost
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(powers), plot.TickerFunc(powers)
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	var lines []any
	for _, l := range f.Lines {
		points := make(plotter.XYs, len(l.Points))
		for i, x := range l.Points {
			points[i] = plotter.XY{X: x.Size, Y: x.Cost}
		}
		lines = append(lines, l.Name, points)
	}
	if err := plotutil.AddLinePoints(p, lines...); err != nil {
		return fmt.Errorf("figure %s: %w", f.File, err)
	}
	// Whole powers of ten around everything, and room for the legend above.
	p.X.Min, p.X.Max = lower(p.X.Min), upper(p.X.Max)
	p.Y.Min, p.Y.Max = lower(p.Y.Min), 10*upper(p.Y.Max)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("figure %s: %w", f.File, err)
	}
	if err := p.Save(16*vg.Centimeter, 11*vg.Centimeter, filepath.Join(dir, f.File+".png")); err != nil {
		return fmt.Errorf("figure %s: %w", f.File, err)
	}
	return nil
}

func lower(v float64) float64 { return math.Pow10(int(math.Floor(math.Log10(v)))) }
func upper(v float64) float64 { return math.Pow10(int(math.Ceil(math.Log10(v)))) }

// powers marks the powers of ten with their number, and what lies between without.
func powers(low, high float64) []plot.Tick {
	var out []plot.Tick
	for decade := lower(low); decade <= high*1.001; decade *= 10 {
		out = append(out, plot.Tick{Value: decade, Label: label(decade)})
		for i := 2.0; i < 10 && i*decade <= high; i++ {
			out = append(out, plot.Tick{Value: i * decade})
		}
	}
	return out
}

// label writes a power of ten with thousands apart.
func label(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.0f M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.0f k", v/1e3)
	}
	return fmt.Sprintf("%g", v)
}
