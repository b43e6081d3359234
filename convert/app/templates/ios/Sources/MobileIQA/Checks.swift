import Foundation

extension PhotoScorer {
  private static let labels = ["bad", "poor", "fair", "good", "excellent"]

  static func result(_ values: [Float]) -> Result {
    let share = (Double(values[0]) - facts.low) / (facts.high - facts.low)
    let good = facts.higherIsBetter ? share : 1 - share
    let index = min(max(Int((good * Double(labels.count)).rounded(.down)), 0), labels.count - 1)
    let reasons = facts.reasons.enumerated().map { Reason(name: $1, probability: values[$0 + 1]) }
    return Result(
      score: values[0], reasons: reasons.sorted { $0.probability > $1.probability }, label: labels[index])
  }

  /// What is wrong: drawn images test file, views and runtime, golden photos also the decoder and colours.
  static func problems(_ session: Session) throws -> [String] {
    var problems: [String] = []
    func check(_ name: String, _ photo: StoredPhoto, _ expected: [Double], _ tolerance: Double) throws {
      let values = try session.run(makeViews(photo, facts.views))
      let close = values.count == expected.count
        && zip(values, expected).allSatisfy { abs(Double($0) - $1) <= tolerance }  // NaN never is
      if !close { problems.append("\(name): \(values), expected \(expected) within \(tolerance)") }
    }
    for each in facts.drawn {
      let image = rgb(draw(each.image, each.width, each.height), each.width, each.height)
      try check("drawn \(each.image)", image, each.expected, facts.tolerance)
    }
    for each in facts.photos {
      let data = try Data(contentsOf: resource("golden/\(each.file)"))
      try check(each.what, decoded(data), each.expected, each.tolerance)
    }
    return problems
  }

  /// The accelerator that may run the file, and the file opened on it. The GPU only where it was asked for, the file may run
  /// there and all golden images and photos pass there; else the CPU, which must pass, too. Once: the answer is kept.
  static func choose(_ options: Options, _ path: String) throws -> (Choice, Session) {
    let cache = weightCache(options)
    func open(_ accelerator: String) throws -> Session {
      return try Session(path, gpu: accelerator == "gpu", threads: options.threads, weightCache: cache)
    }
    if let known = kept(options), let session = try? open(known.accelerator) { return (known, session) }
    var why = options.gpu ? facts.gpuRefused : "the GPU was not asked for"
    if why.isEmpty {
      do {
        let session = try open("gpu")
        let wrong = try problems(session)
        if wrong.isEmpty { return (keep(Choice(accelerator: "gpu", why: ""), options), session) }
        why = "the GPU fails the self-test: \(wrong[0])"
      } catch {
        why = "the GPU does not run the file: \(error)"
      }
    }
    let session = try open("cpu")
    let wrong = try problems(session)
    guard wrong.isEmpty else {
      throw ScoringError(description: "the self-test fails: \(wrong.joined(separator: "; "))")
    }
    return (keep(Choice(accelerator: "cpu", why: why), options), session)
  }

  /// Where an answer is kept: it belongs to this file and this version of the system.
  private static func key(_ options: Options) -> String {
    let system = ProcessInfo.processInfo.operatingSystemVersionString
    return "mobileiqa \(facts.sha256.prefix(16)) \(options.gpu ? "gpu" : "cpu") \(system)"
  }

  private static func kept(_ options: Options) -> Choice? {
    guard let words = UserDefaults.standard.stringArray(forKey: key(options)), words.count == 2 else { return nil }
    return Choice(accelerator: words[0], why: words[1])
  }

  private static func keep(_ choice: Choice, _ options: Options) -> Choice {
    UserDefaults.standard.set([choice.accelerator, choice.why], forKey: key(options))
    return choice
  }

  private static func weightCache(_ options: Options) -> String? {
    let folder = FileManager.default.urls(for: .cachesDirectory, in: .userDomainMask).first
    guard options.weightCache, let folder = folder else { return nil }
    return folder.appendingPathComponent("mobileiqa-\(facts.sha256.prefix(16)).weights").path
  }

  static func resource(_ name: String) throws -> URL {
    guard let folder = Bundle.module.url(forResource: "Resources", withExtension: nil) else {
      throw ScoringError(description: "expected the package's resources; found none")
    }
    return folder.appendingPathComponent(name)
  }
}
