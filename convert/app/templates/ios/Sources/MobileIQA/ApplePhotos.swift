import CoreGraphics
import CoreVideo
import Foundation
import ImageIO

extension PhotoScorer {
  /// An encoded photo; ImageIO reads JPEG, HEIC, PNG, WebP, TIFF... Its EXIF orientation is applied by the views.
  static func decoded(_ data: Data) throws -> StoredPhoto {
    let whole = [kCGImageSourceShouldCache: false] as CFDictionary
    guard let source = CGImageSourceCreateWithData(data as CFData, whole),
      let image = CGImageSourceCreateImageAtIndex(source, 0, whole)
    else { throw ScoringError(description: "expected a photo that ImageIO reads; found \(data.count) other bytes") }
    let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
    return try pixels(image, properties?[kCGImagePropertyOrientation] as? Int ?? 1)
  }

  /// Bands of an image, drawn as 8-bit sRGB on white: CoreGraphics converts Display P3, grey and 16 bits.
  static func pixels(_ image: CGImage, _ orientation: Int) throws -> StoredPhoto {
    let (width, height) = (image.width, image.height)
    let rows = max(1, min(height, 13_000_000 / width))
    guard let space = CGColorSpace(name: CGColorSpace.sRGB),
      let context = CGContext(
        data: nil, width: width, height: rows, bitsPerComponent: 8, bytesPerRow: 4 * width, space: space,
        bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue),
      let data = context.data
    else { throw ScoringError(description: "expected memory for \(rows) rows of \(width) pixels; found none") }
    let bytes = data.assumingMemoryBound(to: UInt8.self)
    context.interpolationQuality = .none
    context.setFillColor(red: 1, green: 1, blue: 1, alpha: 1)
    var top = -1
    return StoredPhoto(width: width, height: height, orientation: orientation) { y, row in
      if top < 0 || y >= top + rows {
        top = y / rows * rows
        context.fill(CGRect(x: 0, y: 0, width: width, height: rows))
        // CoreGraphics counts from the bottom: this puts the photo's row `top` first.
        context.draw(image, in: CGRect(x: 0, y: rows + top - height, width: width, height: height))
      }
      var at = 4 * width * (y - top)
      for x in 0..<width {
        for channel in 0..<3 { row[3 * x + channel] = bytes[at + channel] }
        at += 4
      }
    }
  }

  /// Pixels in memory.
  static func rgb(_ pixels: [UInt8], _ width: Int, _ height: Int) -> StoredPhoto {
    return StoredPhoto(width: width, height: height, orientation: 1) { y, row in
      for i in 0..<(3 * width) { row[i] = pixels[3 * width * y + i] }
    }
  }

  /// A 4:2:0 frame of two planes: JPEG's full-range BT.601, each chroma sample for its 2x2 pixels.
  static func frame(_ frame: CVPixelBuffer, _ rotationDegrees: Int) throws -> StoredPhoto {
    guard CVPixelBufferGetPixelFormatType(frame) == kCVPixelFormatType_420YpCbCr8BiPlanarFullRange,
      let luma = CVPixelBufferGetBaseAddressOfPlane(frame, 0)?.assumingMemoryBound(to: UInt8.self),
      let chroma = CVPixelBufferGetBaseAddressOfPlane(frame, 1)?.assumingMemoryBound(to: UInt8.self)
    else { throw ScoringError(description: "expected a frame in 420f; found another format") }
    let (width, height) = (CVPixelBufferGetWidth(frame), CVPixelBufferGetHeight(frame))
    let strides = (CVPixelBufferGetBytesPerRowOfPlane(frame, 0), CVPixelBufferGetBytesPerRowOfPlane(frame, 1))
    let turns = [0: 1, 90: 6, 180: 3, 270: 8]
    let orientation = turns[(rotationDegrees % 360 + 360) % 360] ?? 1
    return StoredPhoto(width: width, height: height, orientation: orientation) { y, row in
      for x in 0..<width {
        let at = strides.1 * (y / 2) + x / 2 * 2
        let l = Int(luma[strides.0 * y + x]) << 16
        let u = Int(chroma[at]) - 128
        let v = Int(chroma[at + 1]) - 128
        row[3 * x] = byte(l + 91881 * v)
        row[3 * x + 1] = byte(l - 22554 * u - 46802 * v)
        row[3 * x + 2] = byte(l + 116130 * u)
      }
    }
  }

  private static func byte(_ value: Int) -> UInt8 {
    return UInt8(min(max((value + 32768) >> 16, 0), 255))
  }
}
