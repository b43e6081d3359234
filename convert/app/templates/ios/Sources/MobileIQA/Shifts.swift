import Foundation

private let coarsePx = 400  // the longer side at which shifts are looked for first
private let finePx = 256  // side of the windows in which they are found to the pixel
private let places = [0.3, 0.5, 0.7]  // of these windows, along each side

struct Shift {
  let right: Int
  let down: Int
}

struct Box {
  let left: Int
  let top: Int
  let width: Int
  let height: Int
}

/// Brightness of the upright photo number `index`, as Pillow's mode L has it.
struct Grey {
  let index: Int
  let width: Int
  let height: Int
  var pixels: [UInt8]

  init(_ index: Int, _ photo: StoredPhoto) {
    let turn = Turn(photo.orientation)
    self.index = index
    width = turn.swaps ? photo.height : photo.width
    height = turn.swaps ? photo.width : photo.height
    pixels = [UInt8](repeating: 0, count: width * height)
    var row = [UInt8](repeating: 0, count: 3 * photo.width)
    for y in 0..<photo.height {
      photo.read(y, &row)
      let line = turn.flipsRows ? photo.height - 1 - y : y
      for x in 0..<photo.width {
        let column = turn.flipsColumns ? photo.width - 1 - x : x
        let red = 19595 * Int(row[3 * x])
        let green = 38470 * Int(row[3 * x + 1])
        let blue = 7471 * Int(row[3 * x + 2])
        let at = turn.swaps ? column * width + line : line * width + column
        pixels[at] = UInt8((red + green + blue + 0x8000) >> 16)
      }
    }
  }

  init(_ whole: Grey, _ box: Box) {
    index = whole.index
    width = box.width
    height = box.height
    pixels = []
    pixels.reserveCapacity(box.width * box.height)
    for y in 0..<box.height {
      let from = (box.top + y) * whole.width + box.left
      pixels += whole.pixels[from..<(from + box.width)]
    }
  }
}

struct Values {
  let width: Int
  let height: Int
  var values: [Double]

  /// Means of squares of `side` pixels.
  init(_ grey: Grey, _ side: Int) {
    width = grey.width / side
    height = grey.height / side
    values = [Double](repeating: 0, count: width * height)
    for y in 0..<(height * side) {
      for x in 0..<(width * side) {
        values[y / side * width + x / side] += Double(grey.pixels[y * grey.width + x]) / Double(side * side)
      }
    }
  }
}

/// The part `box` of the upright photo, as it is stored.
func part(_ photo: StoredPhoto, _ box: Box) -> StoredPhoto {
  let turn = Turn(photo.orientation)
  let width = turn.swaps ? box.height : box.width
  let height = turn.swaps ? box.width : box.height
  let x = turn.swaps ? box.top : box.left
  let y = turn.swaps ? box.left : box.top
  let left = turn.flipsColumns ? photo.width - x - width : x
  let top = turn.flipsRows ? photo.height - y - height : y
  var whole = [UInt8](repeating: 0, count: 3 * photo.width)
  var next = 0
  return StoredPhoto(width: width, height: height, orientation: photo.orientation) { line, row in
    while next <= top + line {  // every row, once each
      photo.read(next, &whole)
      next += 1
    }
    for i in 0..<(3 * width) { row[i] = whole[3 * left + i] }
  }
}

/// What photos of one size all show, in the first photo's pixels.
func commonPart(_ shifts: [Shift], _ width: Int, _ height: Int) -> Box {
  let rights = shifts.map { $0.right } + [0]
  let downs = shifts.map { $0.down } + [0]
  let left = -rights.min()!
  let top = -downs.min()!
  return Box(left: left, top: top, width: width - rights.max()! - left, height: height - downs.max()! - top)
}

/// The shift of the second to the pixel, and how well its brightness then correlates with that of the first.
func align(_ first: Grey, _ second: Grey) -> (Shift, Double) {
  let side = max(1, max(first.width, first.height) / coarsePx)
  let small = Values(first, side)
  let other = Values(second, side)
  let coarse = shiftBetween(small, other)
  let correlation = correlated(small, other, coarse)
  let start = Shift(right: coarse.right * side, down: coarse.down * side)
  if min(first.width, first.height) <= finePx || side == 1 { return (start, correlation) }
  let fine = places.flatMap { across in places.map { down in fineShift(first, second, start, across, down) } }
  let right = fine.map { $0.right }.sorted()[4]
  let down = fine.map { $0.down }.sorted()[4]
  return (Shift(right: right, down: down), correlation)
}

private func fineShift(_ first: Grey, _ second: Grey, _ start: Shift, _ across: Double, _ down: Double) -> Shift {
  let left = Int(across * Double(first.width - finePx))
  let top = Int(down * Double(first.height - finePx))
  let x = min(max(left + start.right, 0), first.width - finePx)
  let y = min(max(top + start.down, 0), first.height - finePx)
  let one = Values(Grey(first, Box(left: left, top: top, width: finePx, height: finePx)), 1)
  let shift = shiftBetween(one, Values(Grey(second, Box(left: x, top: y, width: finePx, height: finePx)), 1))
  return Shift(right: shift.right + x - left, down: shift.down + y - top)
}

/// By how much the content of the second lies off that of the first: phase correlation, both transformed as one image.
func shiftBetween(_ first: Values, _ second: Values) -> Shift {
  let (width, height) = (first.width, first.height)
  let transform = Fourier(windowed(first), windowed(second), width, height)
  let (re, im) = (transform.re, transform.im)
  var real = [Double](repeating: 0, count: re.count)
  var imaginary = real
  var total = 0.0
  for y in 0..<height {
    for x in 0..<width {
      let i = y * width + x
      let j = (height - y) % height * width + (width - x) % width
      let a = (re[i] + re[j]) / 2
      let b = (im[i] - im[j]) / 2
      let c = (im[i] + im[j]) / 2
      let d = (re[j] - re[i]) / 2
      real[i] = a * c + b * d
      imaginary[i] = a * d - b * c
      if x <= width / 2 { total += (real[i] * real[i] + imaginary[i] * imaginary[i]).squareRoot() }
    }
  }
  let floor = 1e-3 * total / Double(height * (width / 2 + 1)) + 1e-12
  for i in real.indices {
    let size = (real[i] * real[i] + imaginary[i] * imaginary[i]).squareRoot() + floor
    real[i] /= size
    imaginary[i] /= size
  }
  let peaks = Fourier(imaginary, real, width, height).im  // parts exchanged: the inverse
  var peak = 0
  for i in peaks.indices where peaks[i] > peaks[peak] { peak = i }
  return Shift(right: centred(peak % width, width), down: centred(peak / width, height))
}

private func centred(_ value: Int, _ length: Int) -> Int {
  return (value + length / 2) % length - length / 2
}

private func windowed(_ image: Values) -> [Double] {
  let mean = image.values.reduce(0, +) / Double(image.values.count)
  let across = hann(image.width)
  let down = hann(image.height)
  return image.values.indices.map { (image.values[$0] - mean) * across[$0 % image.width] * down[$0 / image.width] }
}

private func hann(_ n: Int) -> [Double] {
  return (0..<n).map { n == 1 ? 1 : 0.5 - 0.5 * cos(2 * Double.pi * Double($0) / Double(n - 1)) }
}

/// Of what both show; 0 where that is less than a quarter.
private func correlated(_ first: Values, _ second: Values, _ shift: Shift) -> Double {
  let box = commonPart([shift], first.width, first.height)
  if box.width <= 0 || box.height <= 0 || 4 * box.width * box.height < first.width * first.height { return 0 }
  var a: [Double] = []
  var b: [Double] = []
  for y in box.top..<(box.top + box.height) {
    for x in box.left..<(box.left + box.width) {
      a.append(first.values[y * first.width + x])
      b.append(second.values[(y + shift.down) * second.width + x + shift.right])
    }
  }
  let meanA = a.reduce(0, +) / Double(a.count)
  let meanB = b.reduce(0, +) / Double(b.count)
  var (ab, aa, bb) = (0.0, 0.0, 0.0)
  for i in a.indices {
    ab += (a[i] - meanA) * (b[i] - meanB)
    aa += (a[i] - meanA) * (a[i] - meanA)
    bb += (b[i] - meanB) * (b[i] - meanB)
  }
  return aa > 0 && bb > 0 ? ab / (aa * bb).squareRoot() : 0
}

/// Fourier transform of an image of complex values, with sides of any length, by their prime factors.
struct Fourier {
  private(set) var re: [Double]
  private(set) var im: [Double]
  private var length = 0
  private var cosines: [Double] = []
  private var sines: [Double] = []
  private var outRe: [Double] = []
  private var outIm: [Double] = []

  init(_ re: [Double], _ im: [Double], _ width: Int, _ height: Int) {
    self.re = re
    self.im = im
    prepare(width)
    for y in 0..<height { line(y * width, 1) }
    prepare(height)
    for x in 0..<width { line(x, width) }
  }

  private mutating func prepare(_ length: Int) {
    self.length = length
    cosines = (0..<length).map { cos(-2 * Double.pi * Double($0) / Double(length)) }
    sines = (0..<length).map { sin(-2 * Double.pi * Double($0) / Double(length)) }
    outRe = [Double](repeating: 0, count: length)
    outIm = outRe
  }

  private mutating func line(_ from: Int, _ step: Int) {
    part(from, step, length, 0)
    for i in 0..<length {
      re[from + step * i] = outRe[i]
      im[from + step * i] = outIm[i]
    }
  }

  private mutating func part(_ from: Int, _ step: Int, _ n: Int, _ at: Int) {
    if n == 1 {
      outRe[at] = re[from]
      outIm[at] = im[from]
      return
    }
    var p = 2
    while n % p != 0 { p += 1 }
    let m = n / p
    for r in 0..<p { part(from + r * step, step * p, m, at + r * m) }
    for k in 0..<m { combine(p, m, at, k) }
  }

  private mutating func combine(_ p: Int, _ m: Int, _ at: Int, _ k: Int) {
    let a = (0..<p).map { outRe[at + $0 * m + k] }
    let b = (0..<p).map { outIm[at + $0 * m + k] }
    for q in 0..<p {
      var (x, y, i) = (0.0, 0.0, 0)
      for r in 0..<p {
        x += a[r] * cosines[i] - b[r] * sines[i]
        y += a[r] * sines[i] + b[r] * cosines[i]
        i = (i + (k + q * m) * (length / (p * m))) % length
      }
      outRe[at + q * m + k] = x
      outIm[at + q * m + k] = y
    }
  }
}
