import CoreGraphics
import CoreVideo
import CryptoKit
import Foundation
import ImageIO
import LiteRT

/// What lowers the quality, and how probable that is.
public struct Reason {
  public let name: String
  public let probability: Float
}

/// What the model says of a photo. `reasons`: the likeliest first; empty for a file that gives none. `label`: excellent,
/// good, fair, poor or bad, a fifth of the score's range each.
public struct Result {
  public let score: Float
  public let reasons: [Reason]
  public let label: String
}

/// What runs the model, "cpu" or "gpu", and why it is not what was asked for.
public struct Choice {
  public let accelerator: String
  public let why: String
}

public struct ScoringError: Error, CustomStringConvertible {
  public let description: String
}

/// Scores photos of any size. An actor: calls wait for each other, none runs on the main thread.
public actor PhotoScorer {
  public struct Options {
    public var threads = 2
    public var gpu = false  // try Metal; it is kept where the self-test passes there
    public var weightCache = true  // keep packed weights in the cache folder, mapped and shared

    public init() {}
  }

  /// What runs the model, and why not the GPU.
  public let accelerator: Choice
  private var session: Session?

  /// Checks the file, chooses the accelerator (once per install and system update) and loads it.
  public init(options: Options = Options()) async throws {
    let file = try PhotoScorer.resource(facts.file)
    let digest = SHA256.hash(data: try Data(contentsOf: file, options: .alwaysMapped))
    let stored = digest.map { String(format: "%02x", $0) }.joined()
    guard stored == facts.sha256 else {
      throw ScoringError(description: "expected SHA-256 \(facts.sha256) of \(facts.file); found \(stored)")
    }
    let (choice, opened) = try PhotoScorer.choose(options, file.path)
    accelerator = choice
    session = opened
  }

  /// Of an encoded photo: JPEG, HEIC and whatever else ImageIO reads.
  public func score(contentsOf photo: URL) throws -> Result {
    return try score(data: Data(contentsOf: photo, options: .mappedIfSafe))
  }

  public func score(data: Data) throws -> Result {
    return PhotoScorer.result(try outputs(PhotoScorer.decoded(data)))
  }

  /// Of an image in memory with the orientation that UIImage or PHAsset says, in any colour space.
  public func score(_ image: CGImage, orientation: CGImagePropertyOrientation = .up) throws -> Result {
    return PhotoScorer.result(try outputs(PhotoScorer.pixels(image, Int(orientation.rawValue))))
  }

  /// Of a camera's frame in 420f (full range), turned by as many degrees as the connection says.
  public func score(_ frame: CVPixelBuffer, rotationDegrees: Int = 0) throws -> Result {
    CVPixelBufferLockBaseAddress(frame, .readOnly)
    defer { CVPixelBufferUnlockBaseAddress(frame, .readOnly) }
    return PhotoScorer.result(try outputs(PhotoScorer.frame(frame, rotationDegrees)))
  }

  /// Runs the model once, so that the first photo does not wait for what is done once.
  public func warmUp() throws {
    let image = facts.drawn[0]
    _ = try outputs(PhotoScorer.rgb(draw(image.image, image.width, image.height), image.width, image.height))
  }

  /// Draws and decodes the golden images and photos again: what is wrong, or an empty array.
  public func selfTest() throws -> [String] {
    return try PhotoScorer.problems(opened())
  }

  /// Frees the model; the scorer is of no use afterwards.
  public func close() {
    session = nil
  }

  /// Of the part `box` of the upright photo.
  func score(_ photo: StoredPhoto, of box: Box) throws -> Result {
    return PhotoScorer.result(try outputs(part(photo, box)))
  }

  private func opened() throws -> Session {
    guard let session = session else { throw ScoringError(description: "expected an open scorer; it was closed") }
    return session
  }

  private func outputs(_ photo: StoredPhoto) throws -> [Float] {
    return try opened().run(makeViews(photo, facts.views))
  }
}

/// The file in LiteRT.
final class Session {
  private let model: CompiledModel
  private let inputs: [TensorBuffer]
  private let outputs: [TensorBuffer]

  init(_ path: String, gpu: Bool, threads: Int, weightCache: String?) throws {
    let options = try CompiledModel.Options()
    try options.setAccelerators(gpu ? .gpu : .cpu)
    let cpu = try CompiledModel.Options.CpuOptions()
    try cpu.setNumThreads(threads)
    if let weightCache = weightCache { try cpu.setXnnPackWeightCachePath(weightCache) }
    try options.setCpuOptions(cpu)
    model = try CompiledModel(file: path, options: options, environment: Environment())
    // The order is the file's: views, then score and reasons.
    inputs = try model.createInputBuffers(signatureKey: facts.signature)
    outputs = try model.createOutputBuffers(signatureKey: facts.signature)
  }

  func run(_ views: [[UInt8]]) throws -> [Float] {
    for (index, pixels) in views.enumerated() {
      if facts.takesBytes {
        try inputs[index].write(pixels)
      } else {
        try inputs[index].write(normalised(pixels, facts.views[index]))
      }
    }
    try model.run(signatureIndex: 0, inputBuffers: inputs, outputBuffers: outputs)
    return try outputs.flatMap { buffer -> [Float] in try buffer.read() }
  }
}
