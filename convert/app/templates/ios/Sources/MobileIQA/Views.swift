import Foundation

/// A photo as it is stored; `read(y, row)` fills row y, 3 bytes sRGB a pixel. Rows are asked for from top to bottom, once
/// each. `orientation` is EXIF's, 1 to 8.
struct StoredPhoto {
  let width: Int
  let height: Int
  let orientation: Int
  let read: (Int, inout [UInt8]) -> Void
}

/// Each view's pixels, height * width * 3 bytes RGB: what mobileiqa.preprocess makes in Python, to the last bit.
func makeViews(_ photo: StoredPhoto, _ views: [View]) -> [[UInt8]] {
  let turn = Turn(photo.orientation)
  let makers: [ViewMaker] = views.map { view in
    view.fit == "resize"
      ? ResizedView(view, photo.width, photo.height, turn) : PickedView(view, photo.width, photo.height, turn)
  }
  var row = [UInt8](repeating: 0, count: 3 * photo.width)
  for y in 0..<photo.height {
    photo.read(y, &row)
    for maker in makers { maker.row(y, row) }
  }
  return makers.map { $0.pixels }
}

/// Normalised planes, as a file with float inputs takes them.
func normalised(_ pixels: [UInt8], _ view: View) -> [Float] {
  let area = pixels.count / 3
  var planes = [Float](repeating: 0, count: pixels.count)
  for channel in 0..<3 {
    let table = (0..<256).map { Float((Double($0) / 255 - view.mean[channel]) / view.std[channel]) }
    for i in 0..<area { planes[channel * area + i] = table[Int(pixels[3 * i + channel])] }
  }
  return planes
}

/// How a photo is turned: which stored axis is which, and which is read backwards.
struct Turn {
  let swaps: Bool
  let flipsColumns: Bool
  let flipsRows: Bool

  init(_ orientation: Int) {
    swaps = (5...8).contains(orientation)
    flipsColumns = [2, 3, 7, 8].contains(orientation)
    flipsRows = [3, 4, 6, 7].contains(orientation)
  }
}

class ViewMaker {
  var pixels: [UInt8]

  init(_ view: View) {
    pixels = [UInt8](repeating: 0, count: 3 * view.width * view.height)
  }

  func row(_ y: Int, _ row: [UInt8]) {}
}

/// Output i is the sum over k of weights[i][k] * input[first[i] + k], in Pillow's fixed point.
struct AxisWeights {
  var first: [Int]
  var weights: [[Int32]]

  /// What Pillow makes `outputs` pixels of `inputs` with, along one axis; antialiased where it shrinks.
  init(_ inputs: Int, _ outputs: Int, _ filter: String) {
    first = Array(0..<outputs)
    weights = Array(repeating: [1 << bits], count: outputs)
    if inputs == outputs { return }
    let reach: Double = filter == "bilinear" ? 1 : filter == "bicubic" ? 2 : 3
    let scale = Double(inputs) / Double(outputs)
    let stretch = max(scale, 1)
    let support = reach * stretch
    for i in 0..<outputs {
      let centre = (Double(i) + 0.5) * scale
      first[i] = max(Int(centre - support + 0.5), 0)
      let end = min(Int(centre + support + 0.5), inputs)
      let values = (first[i]..<end).map { kernel(filter, (Double($0) - centre + 0.5) * (1 / stretch)) }
      var sum = 0.0
      for value in values { sum += value }
      weights[i] = values.map { value in
        let share = value / sum
        return Int32(share * Double(1 << bits) + (share < 0 ? -0.5 : 0.5))
      }
    }
  }

  /// The same axis read from its other end.
  func mirrored(_ inputs: Int) -> AxisWeights {
    var result = self
    for i in first.indices {
      result.first[i] = inputs - first[i] - weights[i].count
      result.weights[i] = weights[i].reversed()
    }
    return result
  }
}

let bits: Int32 = 22  // of Pillow's fixed-point weights
let half: Int32 = 1 << (bits - 1)

func kernel(_ filter: String, _ signed: Double) -> Double {
  let x = abs(signed)
  switch filter {
  case "bilinear":
    return x < 1 ? 1 - x : 0
  case "bicubic":  // Keys' cubic with a = -1/2
    let a = -0.5
    if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
  default:
    return x < 3 ? sinc(x) * sinc(x / 3) : 0
  }
}

func sinc(_ x: Double) -> Double {
  return x == 0 ? 1 : sin(x * Double.pi) / (x * Double.pi)
}

func clipped(_ sum: Int32) -> UInt8 {
  return UInt8(min(max(sum >> bits, 0), 255))
}

/// Pillow resizes the upright photo in two passes, rounded to 8 bits in between. The first runs along stored rows or sums
/// stored rows, depending on how the photo lies. Sums of integers have no order, so the result is the same.
final class ResizedView: ViewMaker {
  private let view: View
  private let swaps: Bool
  private let rowsFirst: Bool
  private let outputs: Int  // along a stored row
  private var columns: AxisWeights
  private var lines: AxisWeights
  private var sums: [[Int32]]

  init(_ view: View, _ width: Int, _ height: Int, _ turn: Turn) {
    self.view = view
    swaps = turn.swaps
    rowsFirst = swaps ? !verticalFirst(height, width, view) : verticalFirst(width, height, view)
    outputs = swaps ? view.height : view.width
    let count = swaps ? view.width : view.height
    columns = AxisWeights(width, outputs, view.filter)
    lines = AxisWeights(height, count, view.filter)
    if turn.flipsColumns { columns = columns.mirrored(width) }
    if turn.flipsRows { lines = lines.mirrored(height) }
    sums = Array(repeating: [], count: count)
    super.init(view)
  }

  override func row(_ y: Int, _ row: [UInt8]) {
    let line = rowsFirst ? row : along(row)
    for i in sums.indices {
      let k = y - lines.first[i]
      let weights = lines.weights[i]
      if k < 0 || k >= weights.count { continue }
      if sums[i].isEmpty { sums[i] = [Int32](repeating: half, count: line.count) }
      let weight = weights[k]
      for x in line.indices { sums[i][x] &+= weight &* Int32(line[x]) }
      if k == weights.count - 1 { finish(i) }
    }
  }

  private func finish(_ index: Int) {
    var line = sums[index].map(clipped)
    sums[index] = []
    if rowsFirst { line = along(line) }
    for i in 0..<outputs {
      let to = 3 * (swaps ? i * view.width + index : index * view.width + i)
      for channel in 0..<3 { pixels[to + channel] = line[3 * i + channel] }
    }
  }

  private func along(_ from: [UInt8]) -> [UInt8] {
    var line = [UInt8](repeating: 0, count: 3 * outputs)
    for i in 0..<outputs {
      var red = half
      var green = half
      var blue = half
      var at = 3 * columns.first[i]
      for weight in columns.weights[i] {
        red &+= weight &* Int32(from[at])
        green &+= weight &* Int32(from[at + 1])
        blue &+= weight &* Int32(from[at + 2])
        at += 3
      }
      line[3 * i] = clipped(red)
      line[3 * i + 1] = clipped(green)
      line[3 * i + 2] = clipped(blue)
    }
    return line
  }
}

/// Whether Pillow (13 and later) resizes upright columns first: where the height loses over twice what the width does.
func verticalFirst(_ width: Int, _ height: Int, _ view: View) -> Bool {
  return view.height < height && height - view.height > 2 * (width - view.width)
}

/// Pixels as they are: where each column and each row of the view comes from, -1 for black.
final class PickedView: ViewMaker {
  private let view: View
  private let swaps: Bool
  private let columns: [Int]
  private let lines: [Int]

  init(_ view: View, _ width: Int, _ height: Int, _ turn: Turn) {
    self.view = view
    swaps = turn.swaps
    columns = PickedView.axis(view, width, turn.swaps ? view.height : view.width, turn.flipsColumns)
    lines = PickedView.axis(view, height, turn.swaps ? view.width : view.height, turn.flipsRows)
    super.init(view)
  }

  private static func axis(_ view: View, _ length: Int, _ outputs: Int, _ flips: Bool) -> [Int] {
    let sources = view.fit == "fragments" ? fragments(view.patch, length, outputs) : centre(length, outputs)
    return flips ? sources.map { $0 < 0 ? -1 : length - 1 - $0 } : sources
  }

  /// Patches from the middle of each cell; a side shorter than one is mirrored.
  private static func fragments(_ patch: Int, _ length: Int, _ outputs: Int) -> [Int] {
    let padded = max(length, patch)
    let count = outputs / patch
    return (0..<outputs).map { i in
      let middle = (2 * (i / patch) + 1) * padded / (2 * count) - patch / 2
      let start = min(max(middle, 0), padded - patch)
      let at = (start + i % patch) % (2 * length)
      return at < length ? at : 2 * length - 1 - at
    }
  }

  /// A centred window; cutting rounds half to even, padding puts the odd pixel on the far side.
  private static func centre(_ length: Int, _ outputs: Int) -> [Int] {
    let over = length - outputs
    let odd = over % 2 == 1 && over / 2 % 2 == 1
    let start = over < 0 ? -(-over / 2) : over / 2 + (odd ? 1 : 0)
    return (0..<outputs).map { start + $0 >= 0 && start + $0 < length ? start + $0 : -1 }
  }

  override func row(_ y: Int, _ row: [UInt8]) {
    for i in lines.indices where lines[i] == y {
      for k in columns.indices where columns[k] >= 0 {
        let to = 3 * (swaps ? k * view.width + i : i * view.width + k)
        for channel in 0..<3 { pixels[to + channel] = row[3 * columns[k] + channel] }
      }
    }
  }
}

/// The golden image `name`, in unsigned 32-bit arithmetic; &* and &+ wrap.
func draw(_ name: String, _ width: Int, _ height: Int) -> [UInt8] {
  let w = UInt32(width)
  let h = UInt32(height)
  var rgb: [UInt8] = []
  rgb.reserveCapacity(3 * width * height)
  for y in 0..<h {
    for x in 0..<w {
      for c: UInt32 in 0..<3 { rgb.append(UInt8(truncatingIfNeeded: level(name, x, y, c, w, h))) }
    }
  }
  return rgb
}

private func level(_ name: String, _ x: UInt32, _ y: UInt32, _ c: UInt32, _ w: UInt32, _ h: UInt32) -> UInt32 {
  switch name {
  case "ramp":
    let across: UInt32 = x * 255 / max(w - 1, 1)
    let down: UInt32 = y * 255 / max(h - 1, 1)
    if c == 0 { return across }
    return c == 1 ? down : (across + down) / 2
  case "tiles":
    let across: UInt32 = x / 16 * 73
    let down: UInt32 = y / 16 * 151
    return (across + down + c * 37) & 255
  default:  // noise
    let index: UInt32 = (y &* w &+ x) &* 3 &+ c
    let mixed: UInt32 = index &* 2_654_435_769
    let folded: UInt32 = mixed ^ (mixed >> 15)
    return (folded &* 2_246_822_519) >> 24
  }
}
