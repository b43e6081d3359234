package io.mobileiqa;

import android.content.Context;
import android.net.Uri;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;

/** An app in Java, against the library alone. */
public final class Caller {
    private Caller() {}

    /** The one of a burst to keep. */
    public static int best(Context context, List<? extends Uri> burst) {
        try (PhotoScorer scorer = PhotoScorer.open(context)) {
            return scorer.bestBlocking(new ArrayList<Uri>(burst)).getBest();
        }
    }

    /** What the blocking function and the one with a callback say. */
    public static String scores(Context context, Uri photo) throws InterruptedException {
        ArrayBlockingQueue<String> answers = new ArrayBlockingQueue<>(2);
        try (PhotoScorer scorer = PhotoScorer.open(context, new PhotoScorer.Options(1))) {
            scorer.warmUpBlocking();
            Result result = scorer.scoreBlocking(photo);
            answers.add(result.score + " " + result.label);
            scorer.score(photo, (scored, error) -> answers.add(error == null ? String.valueOf(scored.score) : error.toString()));
            return answers.take() + " " + answers.take();
        }
    }
}
