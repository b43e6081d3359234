import XCTest

@testable import MobileIQA

/// On a device or in the simulator: golden images and photos score as in Python.
final class SelfTest: XCTestCase {
  func testScoresAsPython() async throws {
    for gpu in [false, true] {
      var options = PhotoScorer.Options()
      options.gpu = gpu
      let scorer = try await PhotoScorer(options: options)
      let accelerator = await scorer.accelerator
      print("MobileIQA runs on \(accelerator)")
      let problems = try await scorer.selfTest()
      XCTAssertEqual(problems, [])
    }
  }
}
