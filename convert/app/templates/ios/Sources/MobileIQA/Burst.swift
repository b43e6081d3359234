import Foundation

/// A photo's place in a burst. `index`: in the array that was given; `margin`: how much better than the others, in bits;
/// `right`, `down`: its shift in pixels; `detail` in bits, `noise` in grey levels, `stops` from the burst's median;
/// `result`: of the part that all photos show; `why`: what it lacks that the best one has.
public struct Ranked {
  public let index: Int
  public let margin: Double
  public let right: Int
  public let down: Int
  public let detail: Double
  public let noise: Double
  public let stops: Double
  public let result: Result
  public let why: String
}

/// Photos of one scene, the best first, and why others are left out, by their place in the array that was given.
public struct Burst {
  public let ranked: [Ranked]
  public let leftOut: [Int: String]

  /// The one to keep.
  public var best: Int { return ranked[0].index }
}

private let sameScene = 0.7  // correlation of reduced brightness, aligned
private let windowPx = 32  // of detail
private let flattest = 0.05  // of the windows: what varies there is noise
private let unseen = 4.0  // variance, in grey levels squared, that nobody sees
private let clippedLevel = 250.0  // grey level from which on noise is cut off
private let shadowLevel = 16.0  // and below which
private let scoreBits = 2.0  // what the whole range of the model's score weighs beside detail
private let stopBits = 2.0  // what a stop from the median weighs
private let display = 2.2  // brightness is about the power of this of a grey level

extension PhotoScorer {
  /// Which photo of one scene to keep, as `mobileiqa best` ranks them. Each is decoded twice: one is in memory at once, and a
  /// byte a pixel of all. Throws where fewer than two photos show one scene.
  public func best(_ photos: [Data]) throws -> Burst {
    var leftOut: [Int: String] = [:]
    var greys: [Grey] = []
    for (index, data) in photos.enumerated() {
      do {
        greys.append(Grey(index, try PhotoScorer.decoded(data)))
      } catch {
        leftOut[index] = "not read: \(error)"
      }
    }
    let scene = oneScene(ofOneSize(greys, &leftOut), &leftOut)
    let shifts = scene.map { $0.shift }
    let box = scene.isEmpty
      ? Box(left: 0, top: 0, width: 0, height: 0)
      : commonPart(shifts, scene[0].grey.width, scene[0].grey.height)
    guard scene.count > 1, min(box.width, box.height) >= 3 * windowPx else {
      throw ScoringError(description: "expected two or more photos of one scene; found \(leftOut)")
    }
    let boxes = shifts.map {
      Box(left: box.left + $0.right, top: box.top + $0.down, width: box.width, height: box.height)
    }
    let results = try zip(scene, boxes).map { placed, box in
      try score(PhotoScorer.decoded(photos[placed.grey.index]), of: box)
    }
    let parts = zip(scene, boxes).map { Grey($0.grey, $1) }
    return Burst(ranked: judged(measures(scene, parts, results)), leftOut: leftOut)
  }

  private func judged(_ rows: [Ranked]) -> [Ranked] {
    let range = (facts.high - facts.low) * (facts.higherIsBetter ? 1 : -1)
    let worth = rows.map { $0.detail + scoreBits * Double($0.result.score) / range - stopBits * abs($0.stops) }
    let total = worth.reduce(0, +)
    let order = rows.indices.sorted { worth[$0] > worth[$1] }
    let best = rows[order[0]]
    return order.map { i in
      let margin = worth[i] - (total - worth[i]) / Double(rows.count - 1)
      return rows[i].with(margin, i == order[0] ? "" : lack(rows[i], best, range))
    }
  }
}

extension Ranked {
  fileprivate func with(_ margin: Double, _ why: String) -> Ranked {
    return Ranked(
      index: index, margin: margin, right: right, down: down, detail: detail, noise: noise, stops: stops,
      result: result, why: why)
  }
}

private struct Placed {
  let grey: Grey
  let shift: Shift
}

/// Those of the commonest size, the widest of several.
private func ofOneSize(_ greys: [Grey], _ leftOut: inout [Int: String]) -> [Grey] {
  let counts = Dictionary(grouping: greys) { [$0.width, $0.height] }.mapValues { $0.count }
  let sizes = counts.map { [$0.value] + $0.key }  // how many, width, height
  guard let size = sizes.max(by: { $0.lexicographicallyPrecedes($1) }) else { return greys }
  var same: [Grey] = []
  for grey in greys {
    if grey.width == size[1] && grey.height == size[2] {
      same.append(grey)
    } else {
      leftOut[grey.index] = "of another size (\(grey.width)x\(grey.height))"
    }
  }
  return same
}

/// With shifts against the first photo that at least half of the others match; without those that do not match it.
private func oneScene(_ greys: [Grey], _ leftOut: inout [Int: String]) -> [Placed] {
  var best: [Placed] = []
  for first in greys {
    var burst: [Placed] = []
    for grey in greys {
      let same = grey.index == first.index
      let (shift, correlation) = same ? (Shift(right: 0, down: 0), 1.0) : align(first, grey)
      if correlation >= sameScene { burst.append(Placed(grey: grey, shift: shift)) }
    }
    if burst.count > best.count { best = burst }
    if 2 * best.count >= greys.count { break }
  }
  let indices = Set(best.map { $0.grey.index })
  for grey in greys where !indices.contains(grey.index) { leftOut[grey.index] = "of another scene" }
  return best
}

private func measures(_ scene: [Placed], _ parts: [Grey], _ results: [Result]) -> [Ranked] {
  let windows = parts.map { Windows($0) }
  let all = windows[0].means.indices
  let middle = all.filter { i in windows.allSatisfy { $0.means[i] > shadowLevel && $0.means[i] < clippedLevel } }
  let usable = middle.count >= 20 ? middle : Array(all)
  let stops = parts.map { part -> Double in
    let sum = part.pixels.reduce(0) { $0 + Int($1) }
    return display * log2(max(Double(sum) / Double(part.pixels.count), 1))
  }
  let median = percentile(stops, 0.5)
  return scene.indices.map { i in
    let noise = percentile(usable.map { windows[i].energies[$0] }, flattest)
    let bits = windows[i].energies.map { log2(1 + max($0 - noise, 0) / (noise + unseen)) }
    return Ranked(
      index: scene[i].grey.index, margin: 0, right: scene[i].shift.right, down: scene[i].shift.down,
      detail: bits.reduce(0, +) / Double(bits.count), noise: (noise / 20).squareRoot(),  // 20: the filter's gain of noise
      stops: stops[i] - median, result: results[i], why: "")
  }
}

/// Of each window: the mean square of the Laplacian, and the mean grey level.
private struct Windows {
  var energies: [Double]
  var means: [Double]

  init(_ part: Grey) {
    let (columns, rows, width) = (part.width / windowPx, part.height / windowPx, part.width)
    let area = Double(windowPx * windowPx)
    energies = [Double](repeating: 0, count: columns * rows)
    means = energies
    for y in 0..<(rows * windowPx) {
      for x in 0..<(columns * windowPx) {
        let i = y * width + x
        let window = y / windowPx * columns + x / windowPx
        means[window] += Double(part.pixels[i]) / area
        if x == 0 || y == 0 || x == width - 1 || y == part.height - 1 { continue }
        let around = [i - width, i + width, i - 1, i + 1].reduce(0) { $0 + Int(part.pixels[$1]) }
        let edge = Double(4 * Int(part.pixels[i]) - around)
        energies[window] += edge * edge / area
      }
    }
  }
}

private func percentile(_ values: [Double], _ share: Double) -> Double {
  let sorted = values.sorted()
  let place = share * Double(sorted.count - 1)
  let low = Int(place)
  return sorted[low] + (place - Double(low)) * (sorted[min(low + 1, sorted.count - 1)] - sorted[low])
}

/// What the photo lacks most.
private func lack(_ row: Ranked, _ best: Ranked, _ range: Double) -> String {
  let lacks: [(String, Double)] = [
    (row.noise > 1.2 * best.noise + 0.2 ? "noisier" : "softer", best.detail - row.detail),
    (row.stops > best.stops ? "brighter" : "darker", stopBits * (abs(row.stops) - abs(best.stops))),
    ("lower score", scoreBits * Double(best.result.score - row.result.score) / range),
  ]
  var most = lacks[0]
  for each in lacks where each.1 > most.1 { most = each }
  return most.0
}
